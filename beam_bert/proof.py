"""A precision of 8 bits has to show, on the user's own documents, that it says what fp32 says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beam_bert.config import JobConfig
from beam_bert.encoder import LEAST_AGREEMENT, agreement, load_classifier
from beam_bert.errors import ConfigError
from beam_bert.sample import SLICE_BYTES, sample_documents
from beam_bert.slices import FileEntry
from beam_bert.sources import SourceSpec
from beam_bert.tokenization import Tokenizer

# Enough to tell 99.5 % from 98 %; at fp32 they cost what as many documents of the job cost.
DOCUMENTS = 512
NEEDS_PROOF = ("int8", "fp8")
FP8_GPUS = ("nvidia-l4", "nvidia-h100-80gb")


@dataclass(frozen=True)
class Proof:
    """How a precision compares with fp32 on a sample of the input.

    Attributes:
      documents: how many were compared.
      agreement: share of them that keep fp32's label.
      largest_logit_change: over all of their logits.
    """

    precision: str
    documents: int
    agreement: float
    largest_logit_change: float


def prove(
    config: JobConfig,
    folder: Path,
    files: Sequence[FileEntry],
    spec: SourceSpec,
    tokenizer: Tokenizer,
) -> dict[str, Any]:
    """What the manifest keeps of a precision's proof; nothing for precisions that need none.

    Raises:
      ConfigError: it keeps fewer than `LEAST_AGREEMENT` of fp32's labels, or does not run here.
      InputError: there is no usable document to compare on.
    """
    if config.precision not in NEEDS_PROOF:
        return {}
    if config.gpu is not None:
        _check_gpu(config.precision, config.gpu.partition(":")[0])
    models = {
        precision: load_classifier(folder, precision=precision, device=config.device)
        for precision in ("fp32", config.precision)
    }
    sampled = replace(spec, slice_bytes=SLICE_BYTES)
    ids, offsets, first_lengths = sample_documents(files, sampled, tokenizer, DOCUMENTS).flat
    expected, found = (model.logits(ids, offsets, first_lengths) for model in models.values())
    proof = Proof(
        precision=config.precision,
        documents=len(expected),
        agreement=agreement(found, expected, models["fp32"].config.problem_type),
        largest_logit_change=float(np.abs(found - expected).max()),
    )
    if proof.agreement < LEAST_AGREEMENT:
        raise ConfigError(
            f"--precision {proof.precision} keeps fp32's label on {proof.agreement:.2%} of "
            f"{proof.documents} documents from all over the input, fewer than "
            f"{LEAST_AGREEMENT:.1%}; use --precision auto"
        )
    return {"proof": asdict(proof)}


def _check_gpu(precision: str, gpu: str) -> None:
    """Refuse what would fail on the workers, or cannot be proved where the job is started."""
    if precision == "int8":
        raise ConfigError("--precision int8 runs on CPUs; with --gpu use auto or fp8")
    if gpu not in FP8_GPUS:
        raise ConfigError(f"{gpu} has no fp8; use --precision auto, or {' or '.join(FP8_GPUS)}")
    if not torch.cuda.is_available():
        raise ConfigError(
            "--precision fp8 has to be compared with fp32 before the job starts, which takes a GPU "
            "here; start the job where there is one, or use --precision auto"
        )
