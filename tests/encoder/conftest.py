"""Small checkpoints of every family, written to disk as `transformers` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from beam_bert.encoder.precision import has_amx, has_native_bf16

VOCAB_SIZE = 300
LABELS = 5
_BERT = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "num_labels": LABELS,
}
_ROBERTA = _BERT | {"max_position_embeddings": 514, "type_vocab_size": 1}
CONFIGS = {
    "bert": transformers.BertConfig(**_BERT),
    "roberta": transformers.RobertaConfig(**_ROBERTA),
    "xlm-roberta": transformers.XLMRobertaConfig(**_ROBERTA),
    "electra": transformers.ElectraConfig(**_BERT, embedding_size=32),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=VOCAB_SIZE, dim=64, n_layers=3, n_heads=4, hidden_dim=128, num_labels=LABELS
    ),
}
Reference = tuple[Path, torch.nn.Module]


def make_model(config: transformers.PretrainedConfig, seed: int = 0) -> torch.nn.Module:
    """A classifier whose logits are of the size that fine-tuned ones have (a few units)."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(1 if "orm.weight" in name else 0, 0.1)
            else:
                parameter.mul_(2)
            if name.startswith(("classifier.weight", "classifier.out_proj.weight")):
                parameter.normal_(0, 0.5)
    return model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Reference]:
    """`checkpoint(family)`: the folder of a small random model, and the `transformers` model."""
    made: dict[str, Reference] = {}

    def make(family: str) -> Reference:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            model = make_model(CONFIGS[family])
            model.save_pretrained(folder)
            made[family] = folder, model
        return made[family]

    return make


def company_tolerance(precision: str) -> float:
    """How far other company may move a logit: not at all where that was tried.

    bf16 with AVX-512 BF16, fp32 and int8 there, with AMX and with AVX2. Elsewhere what every
    machine promises: 1e-5 at fp32. An 8-bit input may fall on the other side of a rounding, and
    bf16 keeps 8 bits.
    """
    if torch.cpu._is_avx512_supported() and not has_amx():
        was_tried = has_native_bf16()
    else:
        was_tried = precision != "bf16"
    return 0.0 if was_tried else {"fp32": 1e-5, "int8": 0.05, "bf16": 0.03}[precision]


def packed(sequences: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Sequences laid end to end: int32 ids and int64 offsets."""
    offsets = np.zeros(len(sequences) + 1, dtype=np.int64)
    np.cumsum([len(s) for s in sequences], out=offsets[1:])
    return np.array([i for s in sequences for i in s], dtype=np.int32), offsets


def random_sequences(lengths: list[int], seed: int = 0) -> list[list[int]]:
    """Random token ids, no padding or special ones among them."""
    generator = np.random.default_rng(seed)
    return [generator.integers(5, VOCAB_SIZE, length).tolist() for length in lengths]


@torch.inference_mode()
def reference_logits(
    model: torch.nn.Module, sequences: list[list[int]], first_lengths: list[int] | None = None
) -> np.ndarray:
    """What `transformers` says, one sequence at a time."""
    rows = []
    for i, sequence in enumerate(sequences):
        kwargs = {}
        if first_lengths is not None:
            types = [int(p >= first_lengths[i]) for p in range(len(sequence))]
            kwargs["token_type_ids"] = torch.tensor([types])
        rows.append(model(input_ids=torch.tensor([sequence]), **kwargs).logits[0].float().numpy())
    return np.stack(rows)
