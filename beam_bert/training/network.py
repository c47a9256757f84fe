"""`PackedNetwork`: a transformers model whose forward runs packed, and can be trained.

The parameters, their initialization and their saving are transformers'; the forward is ours, over
tokens laid end to end as in `beam_bert.encoder`, but with gradients and dropout. Nothing is padded,
and the last layer computes the [CLS] rows alone, as the classification head reads no other: on
banking77 (14 tokens a row) that is a seventh of all arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from beam_bert.encoder.answering import HEAD as SPAN_HEAD
from beam_bert.encoder.checkpoint import Checkpoint
from beam_bert.encoder.config import EncoderConfig, read_config
from beam_bert.encoder.families import FAMILIES
from beam_bert.encoder.model import check_sizes
from beam_bert.encoder.packing import PackedBatch, pack
from beam_bert.encoder.plan import Int64Array, MicroBatch, plan_micro_batches
from beam_bert.errors import ModelError, one_line, shortened
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.tokenization.loading import quiet_transformers
from beam_bert.training.attention import attend
from beam_bert.training.pooling import add_mean_layer

_ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "tanh": torch.tanh,
}


class PackedNetwork(nn.Module):
    """The packed, differentiable forward of one transformers model.

    Attributes:
      model: the model whose parameters are used and trained.
      config: what its config says, as the engine understands it.
      head_is_new: whether its head was drawn at random.
    """

    def __init__(self, model: nn.Module, config: EncoderConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self._family = FAMILIES[config.family]
        values = model.config
        self._dropout = _first(values, "hidden_dropout_prob", "dropout")
        self._head_dropout = _first(
            values, "classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob"
        )
        self._place_of: Tensor | None = None
        self.head_is_new = False

    def use_dropout(self, share: float) -> None:
        """Drop this share of hidden values, wherever the config has some dropped."""
        self._dropout = self._head_dropout = share

    def train_used_words(self, used: Int64Array) -> None:
        """Train the word embeddings of these ids only; the others stay as they are.

        Words that no training row has get no gradient anyway, but AdamW walks over their rows at
        every step: with 30,522 of them and 2,500 used, a tenth of the time on a small model.
        """
        table = self._table("word")
        table.requires_grad_(False)
        self.words = nn.Parameter(table[torch.from_numpy(used).to(table.device)].clone())
        place_of = torch.full((len(table),), -1, dtype=torch.int64)
        place_of[torch.from_numpy(used)] = torch.arange(len(used))
        self._place_of = place_of.to(table.device)
        self._used = torch.from_numpy(used).to(table.device)

    def write_back_words(self) -> None:
        """Put the trained word embeddings into the model's own table, and read that from now on."""
        if self._place_of is not None:
            with torch.no_grad():
                self._table("word")[self._used] = self.words
            self._place_of = None

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """What the optimizer moves, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def depth_of(self, name: str) -> int:
        """0 for embeddings, 1 for the first layer, …, layers + 1 for the head."""
        for i in range(self.config.num_layers):
            layer = self._base(self._family.layer["query"].format(i=i).split(f".{i}.")[0])
            if f"{layer}.{i}." in name:
                return i + 1
        below = name == "words" or ".embeddings" in name
        return 0 if below else self.config.num_layers + 1

    def hidden(self, batch: PackedBatch, *, first_tokens_only: bool) -> Tensor:
        """Hidden states [total_tokens, hidden] of the last layer, or of [CLS] alone [n, hidden]."""
        names = self._family.embeddings
        hidden = self._embedded_words(batch.input_ids)
        position = batch.position_rows % self.config.max_positions
        hidden = hidden + F.embedding(position, self._table("position"))
        if self.config.type_vocab_size:
            types = batch.position_rows // self.config.max_positions
            hidden = hidden + F.embedding(types, self._table("token_type"))
        hidden = self._drop(self._module(self._name(names["embedding_norm"]))(hidden))
        if self.config.embedding_size != self.config.hidden_size:
            hidden = self._module(self._name(names["embedding_projection"]))(hidden)
        for i in range(self.config.num_layers):
            last = first_tokens_only and i == self.config.num_layers - 1
            hidden = self._layer(i, hidden, batch, last)
        return hidden

    def _embedded_words(self, input_ids: Tensor) -> Tensor:
        table = self._table("word")
        if self._place_of is None:
            return F.embedding(input_ids, table)
        place = self._place_of[input_ids.long()]
        words = F.embedding(place.clamp(min=0), self.words)
        if self.training:
            return words
        # Dev has words that no training row has.
        return torch.where((place < 0)[:, None], F.embedding(input_ids, table), words)

    def logits(self, batch: PackedBatch) -> Tensor:
        """Logits [n, labels] of the sequences, in the batch's order."""
        return self.head(self.hidden(batch, first_tokens_only=True))

    def head(self, first: Tensor) -> Tensor:
        """Logits [n, labels] from the hidden states [n, hidden] of first tokens."""
        features = F.dropout(self.head_features(first), self._head_dropout, self.training)
        out: Tensor = self.head_out(features)
        return out

    def head_features(self, first: Tensor) -> Tensor:
        """What the head's last layer reads [n, hidden], from hidden states of first tokens."""
        dense: Tensor = self._module(self._family.head_dense)(first)
        return _ACTIVATIONS[self._family.head_activation](dense)

    @property
    def head_out(self) -> nn.Linear:
        """The head's last layer."""
        out = self._module(self._family.head_out)
        assert isinstance(out, nn.Linear)
        return out

    def span_logits(self, batch: PackedBatch) -> Tensor:
        """Logits [total_tokens, 2] of an answer's start and end, by an extractive head."""
        out: Tensor = self._module(SPAN_HEAD)(self.hidden(batch, first_tokens_only=False))
        return out

    def _layer(self, i: int, hidden: Tensor, batch: PackedBatch, first_only: bool) -> Tensor:
        def module(part: str) -> nn.Module:
            return self._module(self._name(self._family.layer[part].format(i=i)))

        heads = (-1, self.config.num_heads, self.config.head_size)
        key, value = module("key")(hidden).view(heads), module("value")(hidden).view(heads)
        rows = hidden[batch.first_tokens] if first_only else hidden
        query = module("query")(rows).view(heads)
        context = attend(query, key, value, batch.boundaries.runs, first_only)
        attended = self._drop(module("attention_output")(context))
        rows = module("attention_norm")(attended + rows)
        inner = _ACTIVATIONS[self.config.activation](module("up")(rows))
        normed: Tensor = module("output_norm")(self._drop(module("down")(inner)) + rows)
        return normed

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self._dropout, self.training)

    def _module(self, name: str) -> nn.Module:
        return self.model.get_submodule(name)

    def _name(self, name: str) -> str:
        return f"{self._family.prefix}.{name}"

    def _table(self, part: str) -> nn.Parameter:
        return self.model.get_parameter(self._base(part))

    def _base(self, part: str) -> str:
        return self._name(self._family.embeddings.get(part, part))


def packed(
    tokens: TokenArrays,
    rows: Int64Array,
    config: EncoderConfig,
    device: torch.device,
    copies: int = 1,
) -> tuple[PackedBatch, Int64Array]:
    """Lay some sequences end to end, sorted by length, each `copies` times in a row.

    Returns:
      The batch, and int64 [n * copies] the row of each of its sequences.
    """
    lengths = tokens.lengths[rows]
    order = np.repeat(np.argsort(-lengths, kind="stable"), copies)
    batch = MicroBatch(rows[order], lengths[order])
    arrays = (tokens.ids, tokens.offsets, tokens.first_lengths)
    return pack(batch, *arrays, config, device), rows[order]


@torch.no_grad()
def network_outputs(
    network: PackedNetwork,
    tokens: TokenArrays,
    device: torch.device,
    *,
    batch_tokens: int = 4096,
    chosen: Int64Array | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, labels] and [CLS] states [n, hidden] of the sequences, float32, no dropout.

    Of all sequences, or of those `chosen` (rising).
    """
    training = network.training
    network.eval()
    chosen = np.arange(len(tokens)) if chosen is None else chosen
    logits: list[tuple[Int64Array, Tensor, Tensor]] = []
    for plan in plan_micro_batches(tokens.lengths[chosen], batch_tokens):
        batch, rows = packed(tokens, chosen[plan.rows], network.config, device)
        first = network.hidden(batch, first_tokens_only=True)
        logits.append((rows, network.head(first).float().cpu(), first.float().cpu()))
    network.train(training)
    order = np.argsort(np.concatenate([rows for rows, _, _ in logits]))
    return (
        torch.cat([out for _, out, _ in logits]).numpy()[order],
        torch.cat([first for _, _, first in logits]).numpy()[order],
    )


def load_network(
    folder: Path,
    labels: Sequence[str],
    problem_type: str,
    device: torch.device,
    *,
    pooling: str = "cls",
) -> PackedNetwork:
    """A classifier over these labels on top of the checkpoint's encoder.

    The checkpoint's own head is kept where it has the very same labels; else a new one is drawn.

    Args:
      folder: of the checkpoint.
      labels: in the order of the logits.
      problem_type: as in a Hugging Face config.
      device: where to put it.
      pooling: "cls", or "mean": a new head reads the mean over all tokens, see `pooling.py`.

    Raises:
      ModelError: it is not an encoder that beam_bert runs, or cannot be read.
      ConfigError: its family cannot pool so.
    """
    config = read_config(folder)
    same_head = (
        config.architecture.endswith("ForSequenceClassification")
        and config.labels == tuple(labels)
        and config.problem_type == problem_type
    )
    model = from_pretrained(
        "AutoModelForSequenceClassification",
        folder,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type=problem_type,
        ignore_mismatched_sizes=True,
    )
    if not same_head:
        out = model.get_submodule(FAMILIES[config.family].head_out)
        nn.init.normal_(out.weight, std=getattr(model.config, "initializer_range", 0.02))
        nn.init.zeros_(out.bias)
        if pooling == "mean":
            add_mean_layer(model, config.family)
    network = PackedNetwork(model.float().to(device), as_encoder_config(model))
    network.head_is_new = not same_head
    return network


def load_span_network(folder: Path, device: torch.device) -> PackedNetwork:
    """A question-answering model on top of the checkpoint's encoder.

    The checkpoint's own head is kept where it has one; else a new one is drawn.

    Raises:
      ModelError: it is not an encoder that beam_bert runs, or cannot be read.
    """
    config = read_config(folder)
    # A classifier's config says how many labels it has, and these heads are made as wide.
    model = from_pretrained("AutoModelForQuestionAnswering", folder, num_labels=2)
    if not config.architecture.endswith("ForQuestionAnswering"):
        head = model.get_submodule(SPAN_HEAD)
        nn.init.normal_(head.weight, std=getattr(model.config, "initializer_range", 0.02))
        nn.init.zeros_(head.bias)
    return PackedNetwork(model.float().to(device), as_encoder_config(model))


def as_encoder_config(model: Any) -> EncoderConfig:
    """What a transformers model's config says, as the engine understands it."""
    from beam_bert.encoder.config import parse_config

    return parse_config({**model.config.to_dict(), "architectures": [type(model).__name__]})


def from_pretrained(auto_class: str, folder: Path, **settings: Any) -> Any:
    """A transformers model in float32, from safetensors, without code of the checkpoint's.

    Raises:
      ModelError: it cannot be loaded.
    """
    import transformers

    config = read_config(folder)
    prefix = FAMILIES[config.family].prefix
    # transformers would follow an index to whatever it names, and build any number of layers.
    check_sizes(Checkpoint(folder, prefix), config)
    try:
        with quiet_transformers():
            model, loaded = getattr(transformers, auto_class).from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="sdpa",
                output_loading_info=True,
                **settings,
            )
    except Exception as error:  # whatever a damaged checkpoint makes transformers raise
        reason = one_line(error)
        raise ModelError(f"model {folder} cannot be loaded to train it: {reason}") from None
    # Heads and poolers may be new; of an encoder transformers would draw the same in silence.
    mismatched = [name for name, *_ in loaded["mismatched_keys"]]
    for name in sorted({*loaded["missing_keys"], *mismatched}):
        if name.startswith(f"{prefix}.") and not name.startswith(f"{prefix}.pooler."):
            raise ModelError(
                f"model {folder} lacks the tensor {shortened(name)} in the shape that its "
                "config.json asks for; it is not a whole checkpoint, save it again"
            )
    return model


def _first(config: Any, *names: str) -> float:
    values = (getattr(config, name, None) for name in names)
    return float(next(value for value in values if value is not None))
