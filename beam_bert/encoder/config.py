"""`EncoderConfig`: what a checkpoint's config.json says, typed and checked.

Only the fields that change the arithmetic are read; whatever would change it in a way that this
encoder does not follow (relative positions, a decoder, an unknown activation) is refused by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beam_bert.encoder.families import FAMILIES, Family
from beam_bert.errors import ModelError, shortened, shown
from beam_bert.settings.limits import CONFIG_JSON_BYTES, LABEL_CHARACTERS, LABELS, TOKEN_TYPES
from beam_bert.storage.model_files import not_a_model_file, why_no_model
from beam_bert.storage.regular_files import read_json

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
        values = read_json(file, CONFIG_JSON_BYTES)
    except FileNotFoundError:
        why = why_no_model([path.name for path in folder.iterdir()])
        why = why or "has no config.json; save the model there with save_pretrained()"
        raise ModelError(f"{folder} {why}") from None
    except (OSError, ValueError) as error:
        why = f"cannot be read as JSON ({error}); copy the checkpoint again"
        raise ModelError(f"{file} {not_a_model_file(file) or why}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file} is not a JSON object; copy the checkpoint again")
    return parse_config(values, str(file))


def parse_config(values: Mapping[str, Any], where: str = "config.json") -> EncoderConfig:
    """Turn the parsed JSON into an `EncoderConfig`; `where` is named in errors.

    Raises:
      ModelError: see `read_config`.
    """
    family = _family(values, where)
    given = {name: values.get(family.config_names.get(name, name)) for name in _Fields.model_fields}
    try:
        fields = _Fields.model_validate({n: v for n, v in given.items() if v is not None})
    except ValidationError as error:
        raise ModelError(f"{where}: {_explained(error, family)}") from None
    if fields.is_decoder or fields.add_cross_attention:
        raise ModelError(f"{where}: is a decoder; use an encoder, which reads both ways")
    hidden_size, num_heads = fields.hidden_size, fields.num_attention_heads
    if hidden_size % num_heads:
        raise ModelError(
            f"{where}: hidden size {hidden_size} does not divide into {num_heads} heads; "
            "mend the file"
        )
    pad_token_id = family.pad_token_id if fields.pad_token_id is None else fields.pad_token_id
    position_offset = pad_token_id + 1 if family.positions_follow_padding else 0
    max_positions = fields.max_position_embeddings
    if max_positions <= position_offset:
        raise ModelError(f"{where}: max_position_embeddings {max_positions} leaves no position")
    labels = _labels(fields, values, where)
    return EncoderConfig(
        architecture=next(iter(fields.architectures), family.classifier),
        family=family.name,
        labels=labels,
        problem_type=_problem_type(fields, labels, where),
        vocab_size=fields.vocab_size,
        hidden_size=hidden_size,
        num_layers=fields.num_hidden_layers,
        num_heads=num_heads,
        intermediate_size=fields.intermediate_size,
        activation=ACTIVATIONS[fields.hidden_act],
        layer_norm_eps=fields.layer_norm_eps,
        max_length=max_positions - position_offset,
        max_positions=max_positions,
        position_offset=position_offset,
        embedding_size=(fields.embedding_size if family.has_embedding_size else None)
        or hidden_size,
        type_vocab_size=fields.type_vocab_size if family.has_token_types else 0,
        pad_token_id=pad_token_id,
        threshold=fields.beam_bert.threshold,
        null_threshold=fields.beam_bert.null_threshold,
    )


# Rows and columns of tables: larger ones no tensor could have.
_Size = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
_Row = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
_Label = Annotated[str, Field(max_length=LABEL_CHARACTERS)]  # it stands in every row of the output


class _Ours(BaseModel):
    """What fine-tuning left under "beam_bert"."""

    threshold: float = Field(default=0.5, strict=True, ge=0, le=1)
    null_threshold: float = Field(default=0.0, strict=True, ge=-1e9, le=1e9)


class _Fields(BaseModel):
    """What is read of config.json, under BERT's names; a null is as if it were not there."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    architectures: tuple[Annotated[str, Field(pattern=r"^\w{1,100}$")], ...] = ()
    vocab_size: _Size
    hidden_size: _Size
    num_hidden_layers: _Size
    num_attention_heads: _Size
    intermediate_size: _Size
    hidden_act: Literal["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu"] = "gelu"
    layer_norm_eps: float = Field(default=1e-12, ge=0, le=1)
    max_position_embeddings: _Size = 512
    pad_token_id: _Row | None = None
    embedding_size: _Size | None = None
    # Each type has its own table of positions.
    type_vocab_size: Annotated[int, Field(strict=True, ge=0, le=TOKEN_TYPES)] = 2
    position_embedding_type: Literal["absolute"] = "absolute"
    # transformers would read that file, which the model's digest may not cover.
    transformers_weights: Literal["model.safetensors"] = "model.safetensors"
    is_decoder: bool = False
    add_cross_attention: bool = False
    num_labels: int = Field(default=2, ge=1, le=LABELS)  # 2 is what Hugging Face assumes
    id2label: dict[int, _Label] | None = Field(default=None, max_length=LABELS)
    problem_type: str | None = None
    beam_bert: _Ours = _Ours()


def _explained(error: ValidationError, family: Family) -> str:
    """The first thing that is wrong with a config.json, under the name that stands in the file."""
    first = error.errors(include_url=False)[0]
    name, *below = map(str, first["loc"])
    key = shortened(".".join([family.config_names.get(name, name), *below]), 80)
    value, kind = shown(None if first["type"] == "missing" else first["input"]), first["type"]
    if kind == "missing" or kind.startswith("int"):
        return f"{key} is {value}, not a whole number; mend the file"
    if kind == "literal_error":
        expected = first["ctx"]["expected"].replace("'", "")
        return f"{key} {value} is not supported; supported: {expected}"
    return f"{key} is {value}: {shortened(first['msg'])}; mend the file"


def _family(values: Mapping[str, Any], where: str) -> Family:
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(
            f"{where}: model_type {shown(model_type)} is not an encoder that beam_bert runs; "
            f"it runs {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def _labels(fields: _Fields, values: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names = fields.id2label
    if names is None:
        return tuple(f"LABEL_{i}" for i in range(fields.num_labels))
    count = len(values["id2label"])  # more than `names` where "0" and "00" are one number
    if not names or sorted(names) != list(range(count)):
        raise ModelError(f"{where}: id2label does not number its labels 0, 1, 2, …; mend the file")
    labels = tuple(names[i] for i in range(len(names)))
    if not all(name.strip() for name in labels):
        raise ModelError(f"{where}: id2label has a label without a name; mend the file")
    if len(set(labels)) < len(labels):
        twice = next(name for name, times in Counter(labels).items() if times > 1)
        raise ModelError(
            f"{where}: id2label has the name {twice!r} twice: nobody could tell the two apart in "
            "the output; mend the file"
        )
    return labels


def _problem_type(fields: _Fields, labels: tuple[str, ...], where: str) -> str:
    given = fields.problem_type
    if given is None:
        return "regression" if len(labels) == 1 else "single_label_classification"
    if given not in PROBLEM_TYPES:
        raise ModelError(
            f"{where}: problem_type {shown(given)} is unknown; it is one of "
            f"{', '.join(PROBLEM_TYPES)}"
        )
    return given
