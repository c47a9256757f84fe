"""Which files of a folder make a model: what its digest covers, and so all that may be loaded."""

from __future__ import annotations

# A model card or a training state beside them does not change a model's answers.
MODEL_FILES = (".json", ".safetensors", ".txt", ".model")
_MOST_BYTES = 255  # of a name, on every file system that there is


def is_model_file(name: str) -> bool:
    """Whether the file `name`, directly in a model's folder, is part of the model."""
    return (
        name.endswith(MODEL_FILES)
        and not name.startswith(".")
        and not {"/", "\0"} & set(name)
        and len(name.encode(errors="replace")) <= _MOST_BYTES
    )
