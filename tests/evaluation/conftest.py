"""What is measured was fine-tuned by the fixtures of training's tests."""

from tests.training.conftest import (  # noqa: F401
    encoder,
    finetune,
    one_thread,
    own_cache,
    refused,
    train_file,
)
