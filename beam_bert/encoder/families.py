"""The encoders that are one machine under different names: a table for each, nothing else.

All are post-norm transformer encoders with learned absolute positions:
BERT (Devlin et al. 2018, arXiv:1810.04805), RoBERTa (Liu et al. 2019, arXiv:1907.11692), XLM-R
(Conneau et al. 2019, arXiv:1911.02116), DistilBERT (Sanh et al. 2019, arXiv:1910.01108) and ELECTRA
(Clark et al. 2020, arXiv:2003.10555). Tensor names are those of `transformers` 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_EMBEDDINGS = {
    "word": "embeddings.word_embeddings.weight",
    "position": "embeddings.position_embeddings.weight",
    "token_type": "embeddings.token_type_embeddings.weight",
    "embedding_norm": "embeddings.LayerNorm",
    "embedding_projection": "embeddings_project",
}
_BERT_LAYER = {
    "query": "encoder.layer.{i}.attention.self.query",
    "key": "encoder.layer.{i}.attention.self.key",
    "value": "encoder.layer.{i}.attention.self.value",
    "attention_output": "encoder.layer.{i}.attention.output.dense",
    "attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
    "up": "encoder.layer.{i}.intermediate.dense",
    "down": "encoder.layer.{i}.output.dense",
    "output_norm": "encoder.layer.{i}.output.LayerNorm",
}
_DISTILBERT_LAYER = {
    "query": "transformer.layer.{i}.attention.q_lin",
    "key": "transformer.layer.{i}.attention.k_lin",
    "value": "transformer.layer.{i}.attention.v_lin",
    "attention_output": "transformer.layer.{i}.attention.out_lin",
    "attention_norm": "transformer.layer.{i}.sa_layer_norm",
    "up": "transformer.layer.{i}.ffn.lin1",
    "down": "transformer.layer.{i}.ffn.lin2",
    "output_norm": "transformer.layer.{i}.output_layer_norm",
}


@dataclass(frozen=True)
class Family:
    """How one family names its tensors and fields, and what its classification head does.

    The head is dense -> `head_activation` -> out, both on the first token's hidden state.
    `head_dense` and `head_out` are full tensor names; the others stand below `prefix`.
    """

    name: str
    prefix: str
    classifier: str
    head_dense: str
    head_activation: str
    head_out: str
    layer: Mapping[str, str] = field(default_factory=lambda: _BERT_LAYER)
    embeddings: Mapping[str, str] = field(default_factory=lambda: _EMBEDDINGS)
    config_names: Mapping[str, str] = field(default_factory=dict)
    pad_token_id: int = 0
    has_token_types: bool = True
    has_embedding_size: bool = False
    positions_follow_padding: bool = False


_ROBERTA = Family(
    name="roberta",
    prefix="roberta",
    classifier="RobertaForSequenceClassification",
    head_dense="classifier.dense",
    head_activation="tanh",
    head_out="classifier.out_proj",
    pad_token_id=1,
    positions_follow_padding=True,
)
_DISTILBERT_CONFIG = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}

FAMILIES: Mapping[str, Family] = {
    "bert": Family(
        name="bert",
        prefix="bert",
        classifier="BertForSequenceClassification",
        head_dense="bert.pooler.dense",
        head_activation="tanh",
        head_out="classifier",
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": replace(
        _ROBERTA, name="xlm-roberta", classifier="XLMRobertaForSequenceClassification"
    ),
    "distilbert": Family(
        name="distilbert",
        prefix="distilbert",
        classifier="DistilBertForSequenceClassification",
        head_dense="pre_classifier",
        head_activation="relu",
        head_out="classifier",
        layer=_DISTILBERT_LAYER,
        config_names=_DISTILBERT_CONFIG,
        has_token_types=False,
    ),
    "electra": Family(
        name="electra",
        prefix="electra",
        classifier="ElectraForSequenceClassification",
        head_dense="classifier.dense",
        head_activation="gelu",
        head_out="classifier.out_proj",
        has_embedding_size=True,
    ),
}
