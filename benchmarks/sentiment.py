"""The embedded sentiment model beside VADER's lexicon (and its teacher) on held-out text.

    python benchmarks/sentiment.py --data DIR [--teacher DIR]

DIR holds goemotions/ and vader/. The held-out rows are those of
`beam_bert.training.sentiment_data.dev_sets`, which training never sees. vaderSentiment (PyPI, MIT)
gives one polarity, so it has no three classes of its own: its authors' cut-offs of ±0.05 make them.
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

from beam_bert.training import distil_sentiment, sentiment_data, sentiment_evaluation
from beam_bert.training.sentiment_training import load_teacher

EMBEDDED = Path(__file__).parents[1] / "beam_bert" / "models" / "embedded" / "sentiment-small-en"
VADER_CUT_OFF = 0.05


def vader_probabilities(texts: Sequence[str]) -> np.ndarray:
    """Turn VADER's compound score to probabilities that keep its sign and its authors' cut-offs."""
    analyzer = SentimentIntensityAnalyzer()
    compound = np.array([analyzer.polarity_scores(text)["compound"] for text in texts])
    size = np.abs(compound)
    # At the cut-off a side and neutral are level.
    side = np.where(size < VADER_CUT_OFF, size, 0.5 + size / 2)
    negative, positive = np.where(compound < 0, side, 0), np.where(compound > 0, side, 0)
    return np.stack([negative, 1 - side, positive], axis=1)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of goemotions/ and vader/")
    parser.add_argument("--model", type=Path, default=EMBEDDED, help="default: the embedded model")
    parser.add_argument("--teacher", type=Path, help="the folder distil_sentiment kept it in")
    arguments = parser.parse_args()
    sets = sentiment_data.dev_sets(arguments.data / "goemotions", arguments.data / "vader")

    student = AutoModelForSequenceClassification.from_pretrained(arguments.model).eval()
    forward = distil_sentiment.student_forward(student)
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    logits = distil_sentiment.dev_logits(forward, tokenizer, sets)
    results = {arguments.model.name: distil_sentiment.score_all(logits, sets)}
    if arguments.teacher:
        logits = distil_sentiment.dev_logits(*load_teacher(arguments.teacher), sets)
        results["teacher"] = distil_sentiment.score_all(logits, sets)
    results["vaderSentiment"] = {
        name: sentiment_evaluation.score(vader_probabilities([e.text for e in rows]), rows)
        for name, rows in sets.items()
    }
    print(sentiment_evaluation.markdown_table(results))


if __name__ == "__main__":
    started = time.monotonic()
    torch.manual_seed(0)
    main()
    print(f"\n{time.monotonic() - started:.0f} s, {torch.get_num_threads()} threads")
