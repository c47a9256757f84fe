"""A precision of 8 bits has to show, on the user's own documents, that it says what fp32 says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from beam_bert.encoder.precision import EIGHT_BITS
from beam_bert.errors import ConfigError
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.jobs.sampling import SLICE_BYTES, Sample, sample_documents
from beam_bert.pipeline.predict import Predict
from beam_bert.settings.inference import JobConfig
from beam_bert.settings.naming import named
from beam_bert.slices.plan import FileEntry
from beam_bert.sources import SourceSpec

# Enough to tell 99.5 % from 98 %; at fp32 they cost what as many documents of the job cost.
DOCUMENTS = 512
TOKENS = 200_000  # of long documents, fewer
# Share of calls that must be fp32's before a precision of 8 bits may be used.
LEAST_AGREEMENT = 0.995
FP8_GPUS = ("nvidia-l4", "nvidia-h100-80gb")


def check_precision(
    config: JobConfig, predict: Predict, files: Sequence[FileEntry], spec: SourceSpec
) -> dict[str, Any]:
    """What the manifest keeps of a precision's proof; nothing for precisions that need none.

    That is, of a sample of the input: how many documents were compared with fp32; the share of
    them (of the questions asked of them) on which the precision says what fp32 says, low margins
    rechecked as in the job; the share of their windows that were; the largest change of a logit.

    Raises:
      ConfigError: it agrees with fp32 on less than `LEAST_AGREEMENT`, or does not run here.
      InputError: there is no usable document to compare on.
    """
    if config.precision not in EIGHT_BITS:
        return {}
    if config.gpu is not None:
        _check_gpu(config.precision, config.gpu.partition(":")[0])
    task, checked = predict.task, predict.load_checked()
    exact = checked.exact or predict.load_model(precision="fp32")
    sample = sample_documents(
        files, replace(spec, slice_bytes=SLICE_BYTES), predict.tokenizer(), DOCUMENTS
    )
    rows = _few(sample)
    expected, outputs = RecheckedModel(exact).outputs(rows), checked.outputs(rows)
    agreement = float(task.same(rows, outputs.values, expected.values).mean())
    changes = np.abs(task.logits(outputs.values) - task.logits(expected.values))
    if agreement < LEAST_AGREEMENT:
        raise ConfigError(
            f"{named('precision', config.precision)} says what fp32 says on {agreement:.2%} "
            f"of {len(rows)} documents from all over the input, fewer than "
            f"{LEAST_AGREEMENT:.1%}; raise {named('recheck_margin')}, or use {named('precision')} "
            "auto"
        )
    proof = {
        "precision": config.precision,
        "documents": len(rows),
        "agreement": agreement,
        "computed_again": outputs.again / len(outputs.values),
        "largest_logit_change": float(np.nanmax(changes)),
    }
    return {"precision_check": proof}


def _few(sample: Sample) -> pa.RecordBatch:
    """Documents from all over the sample that are not too long to be computed beforehand."""
    share = min(TOKENS / len(sample.tokens.ids), 1.0)
    count = max(int(share * len(sample.rows)), 1)
    return sample.rows.take(pa.array(np.linspace(0, len(sample.rows) - 1, count).astype(np.int64)))


def _check_gpu(precision: str, gpu: str) -> None:
    """Refuse what would fail on the workers, or cannot be proved where the job is started."""
    if precision == "int8":
        raise ConfigError(
            f"{named('precision')} int8 runs on CPUs; with {named('gpu')} use auto or fp8"
        )
    if gpu not in FP8_GPUS:
        raise ConfigError(
            f"{gpu} has no fp8; use {named('precision')} auto, or {' or '.join(FP8_GPUS)}"
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            f"{named('precision')} fp8 has to be compared with fp32 before the job starts, which "
            f"takes a GPU here; start the job where there is one, or use {named('precision')} auto"
        )
