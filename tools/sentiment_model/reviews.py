"""Whole reviews, to learn from and to measure on: rated sentences joined to longer texts.

VADER's product sentences name their review, so held-out reviews are measured as they were written.
Its film lines stand alone: texts of many lines are put together from them.
"""

import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.sentiment_model.data import (
    HELD_OUT_SETS,
    Example,
    is_held_out,
    rating_target,
    read_vader,
)

# A film line has a side from this rating on, and none below it.
_SIDE = 0.5
JOINED_FILM_TEXTS = 400


def join_sentences(sentences: Sequence[Example], source: str) -> Example:
    """Join rated sentences to one text, rated by the mean of its sentences.

    A mean over n sentences varies less than one sentence's rating, so it is scaled by the square
    root of n (4 at most): three mildly pleased sentences make a clearly pleased review.
    """
    ratings = [sentence.rating or 0.0 for sentence in sentences]
    scale = math.sqrt(min(len(ratings), 4))
    rating = max(-4.0, min(4.0, scale * sum(ratings) / len(ratings)))
    text = " ".join(sentence.text for sentence in sentences)
    return Example(text, rating_target(rating), source, rating=rating)


def long_examples(
    examples: Iterable[Example], count: int, generator: random.Random
) -> list[Example]:
    """Build `count` texts of many sentences, so that whole reviews are learnt and not only lines.

    Half are runs of neighbouring sentences of one product review or editorial. Half are film lines
    that mostly agree, with editorial sentences between them for the plot that a film review tells.
    """
    examples = list(examples)
    films = [example for example in examples if example.source == "movie"]
    reviews = _reviews(example for example in examples if example.source in ("amazon", "nyt"))
    whole = [review for review in reviews if len(review) > 1]
    fillers = [e for r in whole for e in r if e.source == "nyt" and abs(e.rating or 0) < 0.5]
    sides = {side: [e for e in films if (e.rating or 0) * side > 0.5] for side in (-1, 1)}
    texts: list[Example] = []
    while len(texts) < count:
        if len(texts) % 2:
            review = generator.choice(whole)
            length = min(len(review), generator.randint(2, 14))
            start = generator.randint(0, len(review) - length)
            texts.append(join_sentences(review[start : start + length], "long"))
        else:
            side = generator.choice((-1, 1))
            opinions = generator.choices(sides[side], k=generator.randint(2, 6))
            opinions += generator.choices(sides[-side], k=generator.randint(0, len(opinions) // 3))
            plot = generator.choices(fillers, k=generator.randint(0, len(opinions)))
            mixed = opinions + plot
            generator.shuffle(mixed)
            rated = join_sentences(opinions, "long")
            text = " ".join(sentence.text for sentence in mixed)
            texts.append(Example(text, rated.target, "long", rating=rated.rating))
    return texts


def review_sets(vader: Path) -> dict[str, list[Example]]:
    """Held-out long text: product reviews as they are, and texts of 3 to 24 film lines.

    Of the film lines of a text at most a third stand against the others, and at most a quarter
    have no side; half of the texts are for their film. The same texts on every run.
    """
    held_out = {
        name: [example for example in read_vader(vader, name) if is_held_out(example)]
        for name in HELD_OUT_SETS
    }
    reviews = [join_sentences(r, "amazon reviews") for r in _reviews(held_out["amazon"]) if r[1:]]
    generator = random.Random(0)
    films = _by_side(held_out["movie"])
    joined = []
    for number in range(JOINED_FILM_TEXTS):
        lines = generator.randint(3, 24)
        against, sideless = generator.randint(0, lines // 3), generator.randint(0, lines // 4)
        side = 1 if number % 2 else -1
        chosen = generator.sample(films[side], lines - against - sideless)
        chosen += generator.sample(films[-side], against) + generator.sample(films[0], sideless)
        generator.shuffle(chosen)
        joined.append(join_sentences(chosen, "movie lines joined"))
    return {"amazon reviews": reviews, "movie lines joined": joined}


def _reviews(examples: Iterable[Example]) -> list[list[Example]]:
    reviews: dict[str, list[Example]] = {}
    for example in examples:
        reviews.setdefault(example.review, []).append(example)
    return list(reviews.values())


def _by_side(films: Iterable[Example]) -> dict[int, list[Example]]:
    sides: dict[int, list[Example]] = {-1: [], 0: [], 1: []}
    for film in films:
        rating = film.rating or 0.0
        sides[(rating > _SIDE) - (rating < -_SIDE)].append(film)
    return sides
