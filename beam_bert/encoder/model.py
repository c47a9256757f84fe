"""`Encoder`: one packed forward for every family, precision and device.

A post-norm transformer encoder (Devlin et al. 2018, arXiv:1810.04805) over the tokens of many
sequences laid end to end: every step works on [total_tokens, hidden_size], and only attention looks
at the boundaries between sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F

from beam_bert.encoder.attention import attend
from beam_bert.encoder.checkpoint import Checkpoint
from beam_bert.encoder.config import EncoderConfig
from beam_bert.encoder.families import FAMILIES
from beam_bert.encoder.linear import Linear
from beam_bert.encoder.packing import PackedBatch
from beam_bert.encoder.precision import compute_dtype, make_linear


@dataclass(frozen=True, eq=False)
class Norm:
    """Layer normalization over the last dimension (Ba et al. 2016, arXiv:1607.06450)."""

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize x [..., features]."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, eq=False)
class Layer:
    """One encoder layer: attention and a feed-forward block, each added to its input and normed.

    `query_key_value` makes all three side by side, which in 8 bits rounds their input once; in the
    last layer, whose queries may be wanted of first tokens alone, `query` makes them apart.
    """

    query_key_value: Linear
    query: Linear | None
    attention_output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm


class Encoder:
    """Embeddings and layers of one checkpoint, on one device, in one precision."""

    def __init__(
        self, checkpoint: Checkpoint, config: EncoderConfig, precision: str, device: torch.device
    ) -> None:
        self.config = config
        self.device = device
        load = _WeightLoader(checkpoint, config, precision, device)
        self._words, self._positions = load.embeddings()
        self._embedding_norm = load.norm(load.family.embeddings["embedding_norm"], narrow=True)
        self._projection = load.embedding_projection()
        self._layers = [load.layer(i) for i in range(config.num_layers)]

    @torch.inference_mode()
    def forward(self, batch: PackedBatch, *, first_tokens_only: bool = False) -> torch.Tensor:
        """Hidden states of the last layer.

        With `first_tokens_only` the last layer computes no other row: a classification head reads
        [CLS] alone, and five sixths of that layer's products go to rows that nobody would read.

        Returns:
          [total_tokens, hidden_size] in the order of the batch, or [n, hidden_size] with
          `first_tokens_only`; float32, or bfloat16 where the precision computes in it.
        """
        hidden = self.embed(batch)
        for layer in self._layers[:-1]:
            hidden = self._apply(layer, hidden, batch, first_tokens_only=False)
        if self._layers:
            return self._apply(self._layers[-1], hidden, batch, first_tokens_only)
        return hidden.index_select(0, batch.first_tokens) if first_tokens_only else hidden

    def embed(self, batch: PackedBatch) -> torch.Tensor:
        """Hidden states before the first layer, [total_tokens, hidden_size]."""
        hidden = F.embedding(batch.input_ids, self._words)
        hidden += F.embedding(batch.position_rows, self._positions)
        hidden = self._embedding_norm(hidden)
        return hidden if self._projection is None else self._projection(hidden)

    def layer(self, number: int, hidden: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
        """One layer over all tokens; numbers past the last begin again at the first."""
        return self._apply(self._layers[number % len(self._layers)], hidden, batch, False)

    def _apply(
        self, layer: Layer, hidden: torch.Tensor, batch: PackedBatch, first_tokens_only: bool
    ) -> torch.Tensor:
        hidden = self._attention(layer, hidden, batch, first_tokens_only)
        inner = layer.up(hidden, activation=self.config.activation)
        return layer.output_norm(layer.down(inner, residual=hidden))

    # A method of its own, so that queries, keys and values are gone before the wide part begins.
    def _attention(
        self, layer: Layer, hidden: torch.Tensor, batch: PackedBatch, first_tokens_only: bool
    ) -> torch.Tensor:
        heads = (self.config.num_heads, self.config.head_size)
        *query, key, value = layer.query_key_value(hidden).split(self.config.hidden_size, dim=1)
        if first_tokens_only:
            hidden = hidden.index_select(0, batch.first_tokens)
        if layer.query is not None:
            query = [layer.query(hidden)]
        context = attend(
            query[0].unflatten(1, heads),
            key.unflatten(1, heads),
            value.unflatten(1, heads),
            batch.boundaries,
            first_tokens_only=first_tokens_only,
        )
        return layer.attention_norm(layer.attention_output(context, residual=hidden))


class _WeightLoader:
    """Builds the encoder's parts from a checkpoint's tensors."""

    def __init__(
        self, checkpoint: Checkpoint, config: EncoderConfig, precision: str, device: torch.device
    ) -> None:
        self.family = FAMILIES[config.family]
        self._checkpoint, self._config = checkpoint, config
        self._precision, self._device = precision, device

    def _tensor(self, name: str, *shape: int) -> torch.Tensor:
        return self._checkpoint.tensor(f"{self.family.prefix}.{name}", shape)

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._device, compute_dtype(self._precision))

    def embeddings(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Word table [vocab, e], and positions plus token types, [types * positions, e]."""
        config, names = self._config, self.family.embeddings
        words = self._tensor(names["word"], config.vocab_size, config.embedding_size)
        positions = self._tensor(names["position"], config.max_positions, config.embedding_size)
        if config.type_vocab_size:
            types = self._tensor(names["token_type"], config.type_vocab_size, config.embedding_size)
            positions = (types[:, None] + positions).flatten(0, 1)
        return self._on_device(words), self._on_device(positions)

    def embedding_projection(self) -> Linear | None:
        """ELECTRA's step from a narrow embedding to the hidden size, where there is one."""
        config = self._config
        if config.embedding_size == config.hidden_size:
            return None
        names = [self.family.embeddings["embedding_projection"]]
        return self.linear(names, config.hidden_size, config.embedding_size)

    def norm(self, name: str, *, narrow: bool = False) -> Norm:
        size = self._config.embedding_size if narrow else self._config.hidden_size
        weight, bias = self._tensor(f"{name}.weight", size), self._tensor(f"{name}.bias", size)
        return Norm(self._on_device(weight), self._on_device(bias), self._config.layer_norm_eps)

    def linear(self, names: list[str], out_features: int, in_features: int) -> Linear:
        """One product for the layers `names`, their outputs side by side."""
        weight = torch.cat([self._tensor(f"{n}.weight", out_features, in_features) for n in names])
        bias = torch.cat([self._tensor(f"{n}.bias", out_features) for n in names])
        return make_linear(weight, bias, precision=self._precision, device=self._device)

    def layer(self, index: int) -> Layer:
        hidden, inner = self._config.hidden_size, self._config.intermediate_size
        name = {key: value.format(i=index) for key, value in self.family.layer.items()}
        attention = [name["query"], name["key"], name["value"]]
        query = None
        if index == self._config.num_layers - 1:
            query = self.linear([attention.pop(0)], hidden, hidden)
        return Layer(
            query_key_value=self.linear(attention, hidden, hidden),
            query=query,
            attention_output=self.linear([name["attention_output"]], hidden, hidden),
            attention_norm=self.norm(name["attention_norm"]),
            up=self.linear([name["up"]], inner, hidden),
            down=self.linear([name["down"]], hidden, inner),
            output_norm=self.norm(name["output_norm"]),
        )


def check_sizes(checkpoint: Checkpoint, config: EncoderConfig) -> None:
    """The tables and layers that config.json asks for are there: others build them unseen.

    Raises:
      ModelError: one is missing or has another shape.
    """
    family, hidden = FAMILIES[config.family], config.hidden_size
    rows = {"word": config.vocab_size, "position": config.max_positions}
    if config.type_vocab_size:
        rows["token_type"] = config.type_vocab_size
    shapes = {family.embeddings[key]: [n, config.embedding_size] for key, n in rows.items()}
    widths = {"query": hidden, "up": config.intermediate_size}
    layers = (
        (f"{family.layer[key].format(i=i)}.weight", [width, hidden])
        for i in range(config.num_layers)
        for key, width in widths.items()
    )
    for name, shape in chain(shapes.items(), layers):
        name = f"{family.prefix}.{name}"
        if checkpoint.shape(name) != shape:
            checkpoint.tensor(name, shape)  # which says what is wrong


def head(
    checkpoint: Checkpoint, config: EncoderConfig, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The classification head: first tokens' hidden states [n, hidden] -> float32 [n, labels].

    It is computed in float32 whatever the precision: one row a sequence costs nothing.
    """
    family, size, labels = FAMILIES[config.family], config.hidden_size, len(config.labels)

    def linear(name: str, out_features: int) -> Linear:
        weight = checkpoint.tensor(f"{name}.weight", (out_features, size))
        bias = checkpoint.tensor(f"{name}.bias", (out_features,))
        return make_linear(weight, bias, precision="fp32", device=device)

    dense, out = linear(family.head_dense, size), linear(family.head_out, labels)

    def apply(first: torch.Tensor) -> torch.Tensor:
        return out(dense(first.float(), activation=family.head_activation))

    return apply
