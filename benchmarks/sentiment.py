"""The embedded sentiment model beside VADER's lexicon (and its teacher) on held-out text.

    python benchmarks/sentiment.py --data DIR [--teacher DIR]

DIR holds goemotions/ and vader/. The held-out rows are those of
`tools.sentiment_model.distil.dev_sets`, which training never sees. vaderSentiment (PyPI,
MIT) gives one polarity, so it has no three classes of its own: its authors' cut-offs of ±0.05 make
them. A second table is about long text alone: how a model does when it reads the start of it, all
of it in windows (--long_documents of the pipelines), and by the length of the text.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from tools.sentiment_model import distil, evaluation, reviews
from tools.sentiment_model.data import NEUTRAL, Example
from tools.sentiment_model.training import Forward, load_teacher

EMBEDDED = Path(__file__).parents[1] / "beam_bert" / "models" / "embedded" / "sentiment-small-en"
VADER_CUT_OFF = 0.05
# (max_length, whole) of the pipelines: --long_documents truncate or window
READINGS = ((256, False), (512, False), (512, True), (256, True))
LENGTHS = ((0, 128), (129, 256), (257, 512), (513, 10_000))  # tokens


def vader_probabilities(texts: Sequence[str]) -> np.ndarray:
    """Turn VADER's compound score to probabilities that keep its sign and its authors' cut-offs."""
    analyzer = SentimentIntensityAnalyzer()
    compound = np.array([analyzer.polarity_scores(text)["compound"] for text in texts])
    size = np.abs(compound)
    # At the cut-off a side and neutral are level.
    side = np.where(size < VADER_CUT_OFF, size, 0.5 + size / 2)
    negative, positive = np.where(compound < 0, side, 0), np.where(compound > 0, side, 0)
    return np.stack([negative, 1 - side, positive], axis=1)


def long_table(forward: Forward, tokenizer: Tokenizer, sets: dict[str, list[Example]]) -> str:
    """Share of long texts with the right side, by way of reading and by length, as Markdown."""
    names = [f"{'windows of' if whole else 'first'} {size}" for size, whole in READINGS]
    lines = [
        "| set | tokens | texts with a side | " + " | ".join(names) + " |",
        "| --- | --- |" + " ---: |" * (1 + len(READINGS)),
    ]
    for name, examples in sets.items():
        sided = [example for example in examples if example.label != NEUTRAL]
        texts = [example.text for example in sided]
        sides = np.sign([example.rating or 0.0 for example in sided])
        lengths = np.array([len(tokenizer.encode(text).ids) for text in texts])
        rights = [
            np.sign(evaluation.polarity(distil.read_texts(forward, tokenizer, texts, size, whole)))
            == sides
            for size, whole in READINGS
        ]
        for low, high in (*LENGTHS, (0, LENGTHS[-1][1])):
            within = (lengths >= low) & (lengths <= high)
            if not within.any():
                continue
            span = "all" if low == 0 and high == LENGTHS[-1][1] else f"{low} to {high}"
            shares = " | ".join(f"{right[within].mean():.3f}" for right in rights)
            lines.append(f"| {name} | {span} | {within.sum()} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of goemotions/ and vader/")
    parser.add_argument("--model", type=Path, default=EMBEDDED, help="default: the embedded model")
    parser.add_argument("--teacher", type=Path, help="where sentiment.distil --work left it")
    arguments = parser.parse_args()
    folders = arguments.data / "goemotions", arguments.data / "vader"
    sets = distil.dev_sets(*folders)

    student = AutoModelForSequenceClassification.from_pretrained(arguments.model).eval()
    forward = distil.student_forward(student)
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    results = {
        arguments.model.name: distil.score_all(forward, tokenizer, sets, distil.STUDENT_MAX_LENGTH)
    }
    if arguments.teacher:
        results["teacher"] = distil.score_all(
            *load_teacher(arguments.teacher), sets, distil.TEACHER_MAX_LENGTH
        )
    results["vaderSentiment"] = {
        name: evaluation.score(vader_probabilities([e.text for e in rows]), rows)
        for name, rows in sets.items()
    }
    print(evaluation.markdown_table(results))
    print()
    print(long_table(forward, tokenizer, reviews.review_sets(folders[1])))


if __name__ == "__main__":
    started = time.monotonic()
    torch.manual_seed(0)
    main()
    print(f"\n{time.monotonic() - started:.0f} s, {torch.get_num_threads()} threads")
