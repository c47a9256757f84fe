"""The bias audit of a model that was just trained, on its dev rows: for the model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from beam_bert.evaluation.audit import Answers, BiasAudit
from beam_bert.evaluation.identity_terms import load_identity_terms
from beam_bert.evaluation.metrics import Array, FloatArray, probabilities
from beam_bert.labelled.rows import Rows
from beam_bert.reports import evaluation as report
from beam_bert.training.network import PackedNetwork, network_outputs
from beam_bert.training.reading import TokensReader


def audit_rows(
    rows: Rows,
    logits: np.ndarray,
    network: PackedNetwork,
    read: TokensReader,
    device: torch.device,
    *,
    threshold: float,
    max_variants: int,
) -> report.Audit:
    """Swap identity terms in these rows, and see how the network's answers move.

    Args:
      rows: to audit.
      logits: the network's for them, float32 [n, labels].
      network: answers; its config names the labels.
      read: makes its tokens, see `beam_bert.labelled.rows.tokenize_rows`.
      device: where it is.
      threshold: multi-label: probability from which a label is given.
      max_variants: swapped texts to score at most.
    """
    labels, problem_type = network.config.labels, network.config.problem_type

    def score(texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Array, FloatArray]:
        swapped = replace(
            rows,
            texts=list(texts),
            pairs=None if pairs is None else list(pairs),
            places=[""] * len(texts),
        )
        tokens, kept, _ = read(swapped)
        swapped_logits, _ = network_outputs(network, tokens, device)
        return kept, probabilities(swapped_logits, problem_type)

    answers = Answers.of(labels, problem_type, threshold)
    audit = BiasAudit(load_identity_terms(None), "package", answers, score, max_variants)
    audit.add(rows.places, rows.texts, rows.pairs, probabilities(logits, problem_type))
    return audit.result()
