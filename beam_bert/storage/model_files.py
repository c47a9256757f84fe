"""Which files of a folder make a model: what its digest covers, and so all that may be loaded."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from beam_bert.storage.regular_files import open_regular
from beam_bert.storage.signatures import SIGNATURE_BYTES, kind_of, markup

# A model card or a training state beside them does not change a model's answers.
MODEL_FILES = (".json", ".safetensors", ".txt", ".model")
_MOST_BYTES = 255  # of a name, on every file system that there is
# Loading these can run code. Trainer leaves some (optimizer.pt, training_args.bin) beside a model.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
_TRAINER_STATE = ("optimizer.", "scheduler.", "training_args.", "rng_state", "scaler.")
_OF_OTHERS = {
    ".h5": "TensorFlow",
    ".msgpack": "Flax",
    ".index": "TensorFlow",
    ".onnx": "ONNX",
    ".gguf": "GGUF",
    ".tflite": "TensorFlow Lite",
}
_CONVERT = (
    "convert them where you trust them: AutoModelForSequenceClassification.from_pretrained(…)"
    ".save_pretrained(…) writes model.safetensors"
)
_MERGE = (
    "merge it into its base where it was trained: AutoPeftModelForSequenceClassification."
    "from_pretrained(…).merge_and_unload().save_pretrained(FOLDER), the tokenizer likewise, and "
    "give that FOLDER"
)


def is_model_file(name: str) -> bool:
    """Whether the file `name`, directly in a model's folder, is part of the model."""
    return (
        name.endswith(MODEL_FILES)
        and not name.startswith(".")
        and not {"/", "\0"} & set(name)
        and len(name.encode(errors="replace")) <= _MOST_BYTES
    )


def why_no_model(names: Collection[str], tensors: Collection[str] = ()) -> str | None:
    """What a folder holds in place of a model, and what to do about it; None: it tells nothing.

    Args:
      names: of the files in it.
      tensors: names of those in its weights.
    """
    lora = any(".lora_A." in name or ".lora_B." in name for name in tensors)
    if not lora and {"adapter_config.json", "model.safetensors"} <= {*names}:
        return (
            "has a LoRA adapter (adapter_config.json) beside its weights, which is not applied; "
            f"move the adapter's files away if the weights have it in them, else {_MERGE}"
        )
    if lora or "adapter_config.json" in names:
        what = "weights of a LoRA adapter" if lora else "a LoRA adapter (adapter_config.json)"
        return f"has {what}, not a whole model; {_MERGE}"
    if any(name.endswith(".safetensors") for name in names):
        return None
    pickled = [
        name
        for name in sorted(names)
        if name.endswith(PICKLES) and not name.startswith(_TRAINER_STATE)
    ]
    if pickled:
        return (
            f"has only pickled weights ({pickled[0]}), which can run code and are never loaded; "
            f"{_CONVERT}"
        )
    for name in sorted(names):
        if framework := _OF_OTHERS.get(Path(name).suffix):
            return f"has only weights of {framework} ({name}); bring its model.safetensors"
    return None


def not_a_model_file(path: Path) -> str | None:
    """What a file of a model is in truth, and what to do; None: its first bytes tell nothing."""
    try:
        with open_regular(path) as file:
            head = file.read(SIGNATURE_BYTES)
    except OSError:  # whoever reads it says so
        return None
    if (kind_and_advice := kind_of(head) or markup(head)) is None:
        return None
    kind, advice = kind_and_advice
    if "pickle" in kind:
        return f"is {kind}, which can run code and is never loaded; {_CONVERT}"
    fetched = "git lfs" in advice or "HTML" in kind
    return f"is {kind}; {advice if fetched else 'copy the checkpoint again'}"
