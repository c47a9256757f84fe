"""The mean over all tokens, for a model whose head reads [CLS] alone: one more encoder layer.

Sentence encoders (Reimers and Gurevych 2019, arXiv:1908.10084) are trained to say what a text means
in the mean of their tokens' states; their [CLS] says little. transformers' classifiers, and so all
that runs them, read [CLS]. So a layer is put on top whose [CLS] looks at all tokens alike and takes
over their mean; from there it learns as any layer does. The head's dense layer starts as a scaled
identity. On top of six layers it costs a sixth of the arithmetic.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from beam_bert.encoder.families import FAMILIES
from beam_bert.errors import ConfigError
from beam_bert.settings.limits import CONFIG_JSON_BYTES
from beam_bert.settings.naming import named
from beam_bert.storage.regular_files import read_json

# Against the one [CLS] state that the residual connection adds.
_WEIGHT_OF_MEAN = 8.0
# Norms give components of about 1, where tanh saturates.
_DENSE_SCALE = 0.5


def resolve_pooling(asked: str, base: Path) -> str:
    """Either "cls" or "mean"; "auto" goes by what sentence-transformers wrote beside the base."""
    if asked != "auto":
        return asked
    try:
        values = read_json(base / "1_Pooling" / "config.json", CONFIG_JSON_BYTES)
    except (OSError, ValueError):
        return "cls"
    is_mean = isinstance(values, dict) and values.get("pooling_mode_mean_tokens") is True
    return "mean" if is_mean else "cls"


@torch.no_grad()
def add_mean_layer(model: Any, family: str) -> None:
    """Put the layer on top of a classifier whose head is new.

    Raises:
      ConfigError: DistilBERT, whose layers are not made like the others'.
    """
    if family == "distilbert":
        asked, other = named("pooling", "mean"), named("pooling", "cls")
        raise ConfigError(f"{asked} is not for DistilBERT; say {other}")
    layers: nn.ModuleList = model.base_model.encoder.layer
    layer: Any = copy.deepcopy(layers[-1])
    attention = layer.attention
    size = model.config.hidden_size
    # Queries of 0 look at all alike; keys stay, or no gradient would reach the queries.
    _zero(attention.self.query)
    _identity(attention.self.value, size, 1.0)
    _identity(attention.output.dense, size, _WEIGHT_OF_MEAN)
    _zero(layer.output.dense)
    for norm in (attention.output.LayerNorm, layer.output.LayerNorm):
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)
    if hasattr(attention.self, "layer_idx"):
        attention.self.layer_idx = len(layers)
    layers.append(layer)
    model.config.num_hidden_layers += 1
    _identity(model.get_submodule(FAMILIES[family].head_dense), size, _DENSE_SCALE)


def _zero(linear: nn.Linear) -> None:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)


def _identity(linear: nn.Linear, size: int, scale: float) -> None:
    linear.weight.copy_(torch.eye(size) * scale)
    nn.init.zeros_(linear.bias)
