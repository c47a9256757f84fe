"""A question-answering head of every family scores what `transformers` scores."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from beam_bert.encoder import Spans, load_span_finder

from .conftest import CONFIGS, packed, random_sequences

LONGEST_ANSWER = 30


@torch.inference_mode()
def best_scores(model: torch.nn.Module, sequence: list[int]) -> tuple[float, float]:
    """Scores of no answer and of the best span, from every start and end by hand."""
    output = model(input_ids=torch.tensor([sequence]))
    start, end = output.start_logits[0], output.end_logits[0]
    count = len(sequence)
    scores = start[:, None] + end
    allowed = torch.ones(count, count).triu().tril(LONGEST_ANSWER - 1).bool()
    return float(scores[0, 0]), float(scores[allowed].max())


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_answers_in_every_precision_as_transformers_does(
    family: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[family])
    config.num_labels = 2
    model = transformers.AutoModelForQuestionAnswering.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("qa_outputs"):
                parameter.normal_(0, 0.25)
            elif parameter.ndim > 1:
                parameter.mul_(2)
    model.save_pretrained(tmp_path)
    sequences = random_sequences([1, 2, 7, 7, 33, 128, 511])
    expected = np.array([best_scores(model, sequence) for sequence in sequences])
    assert np.ptp(expected) > 1, "the test model says nothing"
    for precision, tolerance in (("fp32", 1e-4), ("bf16", 0.1), ("int8", 0.2)):
        finder = load_span_finder(
            tmp_path, precision=precision, device="cpu", max_answer_tokens=LONGEST_ANSWER
        )
        found = Spans.of(finder.outputs(*packed(sequences)))
        got = np.stack([found.null, found.scores[:, 0]], axis=1)
        np.testing.assert_allclose(got, expected, atol=tolerance, rtol=0, err_msg=precision)
