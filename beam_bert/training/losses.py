"""Losses of one row each, [n], from logits [n, labels]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from beam_bert.tasks.classification import MULTI_LABEL, SINGLE_LABEL


def label_loss(
    logits: Tensor,
    targets: Tensor,
    problem_type: str,
    *,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross entropy, binary cross entropy summed over labels, or squared error.

    Args:
      logits: [n, labels].
      targets: int64 [n] classes, or [n, labels].
      problem_type: as in a Hugging Face config.
      smoothing: single-label: probability given to other labels than the target.
      weights: [labels], of each class (multi-label: of its positive rows); None: all 1.
    """
    if problem_type == SINGLE_LABEL:
        return F.cross_entropy(
            logits, targets, weight=weights, label_smoothing=smoothing, reduction="none"
        )
    if problem_type == MULTI_LABEL:
        by_label = F.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=weights, reduction="none"
        )
        return by_label.sum(dim=1)
    return (logits - targets).square().mean(dim=1)


def agreement_loss(first: Tensor, second: Tensor, problem_type: str) -> Tensor:
    """R-Drop (Liang et al. 2021, arXiv:2106.14448): both ways' divergence of two dropout passes."""
    if problem_type == SINGLE_LABEL:
        p, q = F.log_softmax(first, dim=1), F.log_softmax(second, dim=1)
        return ((p.exp() - q.exp()) * (p - q)).sum(dim=1) / 2
    if problem_type == MULTI_LABEL:
        return ((first.sigmoid() - second.sigmoid()) * (first - second)).sum(dim=1) / 2
    return (first - second).square().mean(dim=1)


def teacher_loss(logits: Tensor, teacher: Tensor, problem_type: str, temperature: float) -> Tensor:
    """Divergence from the teacher's answers (Hinton et al. 2015, arXiv:1503.02531).

    Both sides are softened by `temperature`; its square keeps the gradient's size.
    """
    if problem_type == SINGLE_LABEL:
        student = F.log_softmax(logits / temperature, dim=1)
        target = F.log_softmax(teacher / temperature, dim=1)
        return (target.exp() * (target - student)).sum(dim=1) * temperature**2
    if problem_type == MULTI_LABEL:
        target = (teacher / temperature).sigmoid()
        by_label = F.binary_cross_entropy_with_logits(
            logits / temperature, target, reduction="none"
        )
        return by_label.sum(dim=1) * temperature**2
    return (logits - teacher).square().mean(dim=1)


def state_loss(first: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine between the [CLS] states [n, hidden] of student and teacher."""
    return 1 - F.cosine_similarity(first.float(), teacher, dim=1)


def balanced_weights(targets: Tensor, problem_type: str) -> Tensor:
    """Weights [labels] that give each class the same say; for several labels, rows / positives.

    The square root for several labels: the full ratio of a label with one row in a thousand drowns
    all others.
    """
    if problem_type == SINGLE_LABEL:
        counts = torch.bincount(targets).clamp(min=1).float()
        return counts.sum() / (len(counts) * counts)
    positives = targets.sum(dim=0).clamp(min=1)
    return ((len(targets) - positives) / positives).clamp(min=1).sqrt()
