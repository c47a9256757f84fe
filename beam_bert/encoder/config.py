"""`EncoderConfig`: what a checkpoint's config.json says, typed and checked.

Only the fields that change the arithmetic are read; whatever would change it in a way that this
encoder does not follow (relative positions, a decoder, an unknown activation) is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_bert.encoder.families import FAMILIES, Family
from beam_bert.errors import ModelError

# Hugging Face's names -> ours; the rest of their table never appears in published BERT encoders.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
PROBLEM_TYPES = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)


@dataclass(frozen=True)
class EncoderConfig:
    """Shape and meaning of one checkpoint.

    Attributes:
      architecture: the class that wrote it, such as "BertForSequenceClassification".
      family: key of `beam_bert.encoder.families.FAMILIES`.
      labels: names in the order of the logits, from `id2label`.
      problem_type: one of `PROBLEM_TYPES`.
      threshold: multi-label: probability from which the model was found to give a label best;
        `beam_bert.threshold` in config.json.
      null_threshold: question answering: the null threshold that was found best, likewise.
      max_length: tokens that a sequence may have, special ones included.
      max_positions: rows of the position table (`max_length` + `position_offset`).
      position_offset: row of the first token (0, or pad_token_id + 1 in RoBERTa).
      embedding_size: width of the tables; ELECTRA's may be narrower than `hidden_size`.
      type_vocab_size: rows of the token-type table; 0 where the family has none.
    """

    architecture: str
    family: str
    labels: tuple[str, ...]
    problem_type: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    activation: str
    layer_norm_eps: float
    max_length: int
    max_positions: int
    position_offset: int
    embedding_size: int
    type_vocab_size: int
    pad_token_id: int
    threshold: float = 0.5
    null_threshold: float = 0.0

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads


def read_config(folder: Path) -> EncoderConfig:
    """Read `folder`/config.json.

    Raises:
      ModelError: the folder or file is missing, is not JSON, or describes something that this
        encoder does not compute.
    """
    if not folder.is_dir():
        raise ModelError(
            f"model folder {folder} does not exist; give a folder with config.json and "
            "model.safetensors in it"
        )
    file = folder / "config.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} has no config.json; save the model there with save_pretrained()"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file} cannot be read as JSON ({error}); copy the checkpoint again"
        ) from error
    if not isinstance(values, dict):
        raise ModelError(f"{file} is not a JSON object; copy the checkpoint again")
    return parse_config(values, str(file))


def parse_config(values: Mapping[str, Any], where: str = "config.json") -> EncoderConfig:
    """Turn the parsed JSON into an `EncoderConfig`; `where` is named in errors.

    Raises:
      ModelError: see `read_config`.
    """
    family = _family(values, where)
    _refuse_what_is_not_computed(values, where)

    def number(name: str, default: int | None = None) -> int:
        key = family.config_names.get(name, name)
        value = values.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ModelError(f"{where}: {key} is {value!r}, not a whole number; mend the file")
        return value

    hidden_size, num_heads = number("hidden_size"), number("num_attention_heads")
    if num_heads == 0 or hidden_size == 0 or hidden_size % num_heads:
        raise ModelError(
            f"{where}: hidden size {hidden_size} does not divide into {num_heads} heads; "
            "mend the file"
        )
    act_key = family.config_names.get("hidden_act", "hidden_act")
    act = values.get(act_key, "gelu")
    if act not in ACTIVATIONS:
        raise ModelError(
            f"{where}: {act_key} {act!r} is not supported; supported: {', '.join(ACTIVATIONS)}"
        )
    pad_token_id = number("pad_token_id", family.pad_token_id)
    position_offset = pad_token_id + 1 if family.positions_follow_padding else 0
    max_positions = number("max_position_embeddings", 512)
    if max_positions <= position_offset:
        raise ModelError(f"{where}: max_position_embeddings {max_positions} leaves no position")
    labels = _labels(values, where)
    return EncoderConfig(
        architecture=(values.get("architectures") or [family.classifier])[0],
        family=family.name,
        labels=labels,
        problem_type=_problem_type(values, labels, where),
        vocab_size=number("vocab_size"),
        hidden_size=hidden_size,
        num_layers=number("num_hidden_layers"),
        num_heads=num_heads,
        intermediate_size=number("intermediate_size"),
        activation=ACTIVATIONS[act],
        layer_norm_eps=float(values.get("layer_norm_eps", 1e-12)),
        max_length=max_positions - position_offset,
        max_positions=max_positions,
        position_offset=position_offset,
        embedding_size=number("embedding_size", hidden_size)
        if family.has_embedding_size
        else hidden_size,
        type_vocab_size=number("type_vocab_size", 2) if family.has_token_types else 0,
        pad_token_id=pad_token_id,
        threshold=_ours(values, "threshold", 0.5, (0.0, 1.0), where),
        null_threshold=_ours(values, "null_threshold", 0.0, (-1e9, 1e9), where),
    )


def _family(values: Mapping[str, Any], where: str) -> Family:
    model_type = str(values.get("model_type"))
    if model_type not in FAMILIES:
        raise ModelError(
            f"{where}: model_type {model_type!r} is not an encoder that beam_bert runs; "
            f"it runs {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def _refuse_what_is_not_computed(values: Mapping[str, Any], where: str) -> None:
    position = values.get("position_embedding_type") or "absolute"
    if position != "absolute":
        raise ModelError(
            f"{where}: position_embedding_type {position!r} is not supported; "
            "use a checkpoint with absolute positions"
        )
    if values.get("is_decoder") or values.get("add_cross_attention"):
        raise ModelError(f"{where}: is a decoder; use an encoder, which reads both ways")


def _labels(values: Mapping[str, Any], where: str) -> tuple[str, ...]:
    id2label = values.get("id2label")
    if id2label is None:
        count = values.get("num_labels", 2)  # what Hugging Face assumes where nothing is said
        return tuple(f"LABEL_{i}" for i in range(int(count)))
    try:
        by_id = {int(key): str(label) for key, label in id2label.items()}
    except (AttributeError, TypeError, ValueError):
        by_id = {}
    if not by_id or sorted(by_id) != list(range(len(by_id))):
        raise ModelError(f"{where}: id2label does not number its labels 0, 1, 2, …; mend the file")
    return tuple(by_id[i] for i in range(len(by_id)))


def _ours(
    values: Mapping[str, Any], name: str, default: float, limits: tuple[float, float], where: str
) -> float:
    """A number that fine-tuning left under "beam_bert"."""
    ours = values.get("beam_bert")
    value = ours.get(name, default) if isinstance(ours, dict) else default
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not limits[0] <= value <= limits[1]:
        raise ModelError(
            f"{where}: beam_bert.{name} is {value!r}, not a number from {limits[0]:g} to "
            f"{limits[1]:g}; mend the file"
        )
    return float(value)


def _problem_type(values: Mapping[str, Any], labels: tuple[str, ...], where: str) -> str:
    given = values.get("problem_type")
    if given is None:
        return "regression" if len(labels) == 1 else "single_label_classification"
    if given not in PROBLEM_TYPES:
        raise ModelError(
            f"{where}: problem_type {given!r} is unknown; it is one of {', '.join(PROBLEM_TYPES)}"
        )
    return str(given)
