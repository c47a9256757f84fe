"""The long text that the embedded sentiment model learns from and is measured on."""

import random
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tokenizers import Tokenizer  # noqa: E402 (after the skips)

from tools.sentiment_model import data as sentiment_data  # noqa: E402
from tools.sentiment_model import distil  # noqa: E402
from tools.sentiment_model import reviews as sentiment_reviews  # noqa: E402
from tools.sentiment_model.tokenizer import SPECIAL_PIECES, build_tokenizer  # noqa: E402


@pytest.fixture
def vader(tmp_path: Path) -> Path:
    """A folder as VADER's: 60 product reviews of three sentences, 900 film lines, 5 editorials."""
    rows: dict[str, list[tuple[str, int, str]]] = {"amazon": [], "movie": [], "nyt": []}
    for review in range(60):
        side = 1 if review % 2 else -1
        for part in (1, 2, 3):
            text = f"sentence {part} of product {review}"
            rows["amazon"].append((text, side * part, f"{review}_{part}"))
    rows["movie"] = [(f"film line {line}.", line % 7 - 3, str(line)) for line in range(900)]
    rows["nyt"] = [(f"fact {part}", 0, f"{n}_{part}") for n in range(5) for part in (1, 2)]
    rows["tweets"] = [("a tweet", 0, "1")]
    for name, lines in rows.items():
        text = "\n".join("\t".join(map(str, line)) for line in lines)
        (tmp_path / f"{name}.tsv").write_text(text + "\n")
    return tmp_path


def test_held_out_reviews_are_whole_and_in_order(vader: Path) -> None:
    reviews = sentiment_reviews.review_sets(vader)["amazon reviews"]
    assert reviews
    for review in reviews:
        number = int(review.text.split()[4])
        assert review.text == " ".join(f"sentence {p} of product {number}" for p in (1, 2, 3))
        assert review.label == (sentiment_data.POSITIVE if number % 2 else sentiment_data.NEGATIVE)


def test_training_sees_no_sentence_of_the_long_texts_that_it_is_measured_on(vader: Path) -> None:
    (vader / "group-train.tsv").write_text("a comment\t2\tid\n")
    trained = sentiment_data.training_examples(vader, vader)
    long = sentiment_reviews.long_examples(trained, 200, random.Random(0))
    found = re.compile(r"film line \d+\.|sentence \d of product \d+")
    seen = {part for example in trained + long for part in found.findall(example.text)}
    measured = {
        part
        for texts in sentiment_reviews.review_sets(vader).values()
        for example in texts
        for part in found.findall(example.text)
    }
    assert len(seen) > 500
    assert len(measured) > 50
    assert not seen & measured


def test_joined_film_texts_are_the_same_every_time_and_lean_to_the_side_of_most_lines(
    vader: Path,
) -> None:
    texts = sentiment_reviews.review_sets(vader)["movie lines joined"]
    assert texts == sentiment_reviews.review_sets(vader)["movie lines joined"]
    assert all(3 <= text.text.count("film line") <= 24 for text in texts)
    assert all((text.rating > 0) == bool(n % 2) for n, text in enumerate(texts) if text.rating)


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Knows "good" and "bad"."""
    return build_tokenizer([*SPECIAL_PIECES, "good", "bad"])


def count_words(ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor]:
    """A model that is the surer the more words stand on a side: logits [batch, 3]."""
    good, bad = ((ids == 5).sum(1), (ids == 6).sum(1))
    return (torch.stack([bad, torch.zeros_like(bad), good], 1).float(),)


def test_a_text_of_several_windows_gets_their_mean_and_a_short_one_its_own(
    tokenizer: Tokenizer,
) -> None:
    texts = ["good " * 70, "good", "good " * 70 + "bad " * 140]

    def polarity(whole: bool) -> np.ndarray:
        read = distil.read_texts(count_words, tokenizer, texts, 72, whole)
        assert np.allclose(read.sum(1), 1)
        return read[:, 2] - read[:, 0]

    assert polarity(whole=False) == pytest.approx([1, 0.364, 1], abs=0.01)
    whole = polarity(whole=True)
    assert whole[:2] == pytest.approx([1, 0.364], abs=0.01)
    assert whole[2] < -0.2


def test_its_rows_are_files_that_finetune_reads(vader: Path, tmp_path: Path) -> None:
    from beam_bert.settings.training import FinetuneConfig
    from beam_bert.training.classifier_rows import read_labelled
    from beam_bert.training.setup import declared_sources
    from tools.sentiment_model.rows import write_rows

    for part in ("train", "dev"):
        comments = "".join(f"a {part} comment {n}\t{n % 3 + 1}\tid\n" for n in range(30))
        (vader / f"group-{part}.tsv").write_text(comments)
    counts = write_rows(vader, vader, tmp_path, tmp_path / "rows")
    config = FinetuneConfig(
        train=str(tmp_path / "rows/train.csv"),
        dev=str(tmp_path / "rows/dev-movie.csv"),
        unlabelled=str(tmp_path / "rows/unlabelled.csv"),
        label_column="label",
        teacher="teacher",
        output="student",
    )
    assert all(source.allowed for source in declared_sources(config, "train", "dev", "unlabelled"))
    found = read_labelled(config)
    assert found.labels == sentiment_data.LABELS
    assert len(found.dev) == counts["dev-movie"]
    assert len(found.train) + found.leaked == counts["train"]
