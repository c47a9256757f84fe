"""The labelled text that the embedded sentiment model learns from and is measured on.

Two public sets: GoEmotions' sentiment groups (Demszky et al., ACL 2020; Reddit comments) and the
rated sentences of VADER (Hutto and Gilbert, ICWSM 2014; film and product reviews, editorials,
tweets). Everything here is pure Python: text in, `Example`s out, the same on every run.
"""

import csv
import html
import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

LABELS = ("negative", "neutral", "positive")
NEGATIVE, NEUTRAL, POSITIVE = range(3)

VADER_SETS = ("movie", "amazon", "nyt", "tweets")
HELD_OUT_SETS = ("movie", "amazon")
HELD_OUT_ONE_IN = 8

# GoEmotions' group ids (group-labels.txt). 'Ambiguous' holds curiosity, confusion, realization and
# surprise: they say how certain the writer is, not whether they are pleased. Beside another group
# it is therefore ignored; alone it counts as mostly neutral, and leaves room for either side.
AMBIGUOUS_GROUP = "0"
GROUP_TARGETS = {"1": (1.0, 0.0, 0.0), "2": (0.0, 1.0, 0.0), "3": (0.0, 0.0, 1.0)}
AMBIGUOUS_TARGET = (0.2, 0.6, 0.2)

# A rating's distance from 0 at which "neutral" and a side are equally likely, and how gradual the
# change is; see `rating_target`.
RATING_THRESHOLD = 0.7
RATING_SPREAD = 0.3


@dataclass(frozen=True)
class Example:
    """One text with its target.

    `target` is (negative, neutral, positive) and sums to 1; `rating` is VADER's mean rating, -4 to
    4, where there is one; `review` names the review a sentence was cut from.
    """

    text: str
    target: tuple[float, float, float]
    source: str
    review: str = ""
    rating: float | None = None

    @property
    def label(self) -> int:
        """The likeliest class, or NEUTRAL where the target is torn."""
        best = max(self.target)
        return self.target.index(best) if self.target.count(best) == 1 else NEUTRAL

    @property
    def is_single_label(self) -> bool:
        """Whether one class has most of the target, so that accuracy means something."""
        return max(self.target) > 0.5


def rating_target(rating: float) -> tuple[float, float, float]:
    """Turn a rating from -4 to 4 into class probabilities by an ordinal (cumulative logit) model.

    Source: McCullagh, Regression Models for Ordinal Data, 1980.
    """
    positive = 1 / (1 + math.exp((RATING_THRESHOLD - rating) / RATING_SPREAD))
    negative = 1 / (1 + math.exp((RATING_THRESHOLD + rating) / RATING_SPREAD))
    return negative, 1 - positive - negative, positive


def group_target(groups: str) -> tuple[float, float, float]:
    """Share the target evenly between a comment's groups, e.g. "1,3" is half and half."""
    decided = [GROUP_TARGETS[group] for group in groups.split(",") if group != AMBIGUOUS_GROUP]
    if not decided:
        return AMBIGUOUS_TARGET
    negative, neutral, positive = (
        sum(column) / len(decided) for column in zip(*decided, strict=True)
    )
    return negative, neutral, positive


def read_goemotions(folder: Path, part: str) -> list[Example]:
    """Read group-{part}.tsv; `part` is "train" or "dev"."""
    lines = (folder / f"group-{part}.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")
    rows = (line.split("\t") for line in lines)
    return [Example(text, group_target(groups), "goemotions") for text, groups, _ in rows]


def read_vader(folder: Path, name: str) -> list[Example]:
    """Read one of `VADER_SETS`. An id such as 12_3 is the third sentence of review 12."""
    lines = (folder / f"{name}.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")
    examples = []
    for text, rating, identity in (line.split("\t") for line in lines):
        examples.append(
            Example(
                text=html.unescape(text),
                target=rating_target(float(rating)),
                source=name,
                review=f"{name}/{identity.split('_')[0]}",
                rating=float(rating),
            )
        )
    return examples


def is_held_out(example: Example) -> bool:
    """Whether a film or product sentence belongs to dev; a review is never split."""
    if example.source not in HELD_OUT_SETS:
        return False
    return zlib.crc32(example.review.encode()) % HELD_OUT_ONE_IN == 0


def training_examples(goemotions: Path, vader: Path) -> list[Example]:
    """All labelled text that may be trained on."""
    rated = [example for name in VADER_SETS for example in read_vader(vader, name)]
    return read_goemotions(goemotions, "train") + [e for e in rated if not is_held_out(e)]


def dev_sets(goemotions: Path, vader: Path) -> dict[str, list[Example]]:
    """The text that is only ever measured on: held-out film and product sentences, goemotions.

    Of GoEmotions, comments of one group that is not 'ambiguous': the others have no one answer.
    """
    held_out = {
        name: [example for example in read_vader(vader, name) if is_held_out(example)]
        for name in HELD_OUT_SETS
    }
    comments = read_goemotions(goemotions, "dev")
    return held_out | {"goemotions": [e for e in comments if max(e.target) == 1.0]}


def read_questions(folder: Path) -> list[str]:
    """COVID-QA's questions: plain and neutral, and of a kind that the labelled sets lack."""
    return list(
        dict.fromkeys(
            " ".join(answer["question"].split())
            for paragraph in _covid_paragraphs(folder)
            for answer in paragraph["qas"]
        )
    )


def read_unlabelled(folder: Path) -> list[str]:
    """Plain text for the teacher to label: banking77's questions and COVID-QA's prose."""
    texts: list[str] = []
    banking = folder / "banking77" / "train.csv"
    if banking.exists():
        with banking.open(encoding="utf-8", newline="") as file:
            texts += [" ".join(row["text"].split()) for row in csv.DictReader(file)]
    for paragraph in _covid_paragraphs(folder):
        sentences = paragraph["context"].replace("\n", " ").split(". ")
        texts += [sentence for sentence in sentences[:60] if 5 <= len(sentence.split()) <= 40]
    return list(dict.fromkeys(texts))


def _covid_paragraphs(folder: Path) -> list[dict]:
    file = folder / "qa" / "covid-qa.json"
    if not file.exists():
        return []
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    return [paragraph for article in articles for paragraph in article["paragraphs"]]
