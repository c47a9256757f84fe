"""The embedded model's data as files that the product's own commands read; see README.md.

python -m tools.sentiment_model.rows --goemotions DIR --vader DIR --unlabelled DIR --output DIR
"""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path

from tools.sentiment_model import data, distil

SOURCES = """\
sources:
  - path: "*.csv"
    origin: GoEmotions, VADER, COVID-QA, banking77 and templates of this project
    date: 2020-03-10
    licence: CC-BY-4.0  # banking77's; the others are Apache-2.0 and MIT, which ask for less
"""


def write_rows(
    goemotions: Path, vader: Path, unlabelled: Path, output: Path, seed: int = 0
) -> dict[str, int]:
    """Write train.csv, unlabelled.csv and a dev-SET.csv for each held-out set; rows of each.

    A target becomes its likeliest label: `finetune` takes no probabilities as labels.
    """
    output.mkdir(parents=True, exist_ok=True)
    arguments = argparse.Namespace(
        goemotions=goemotions, vader=vader, unlabelled=unlabelled, seed=seed
    )
    examples = distil.gather_examples(arguments)
    texts = distil.unlabelled_texts(examples, unlabelled, seed)
    files: dict[str, list[list[str]]] = {
        "train": [[e.text, data.LABELS[e.label]] for e in examples],
        "unlabelled": [[text] for text in texts],
    }
    for name, dev in distil.dev_sets(goemotions, vader).items():
        rows = [[e.text, data.LABELS[e.label]] for e in dev]
        files[f"dev-{name.replace(' ', '-')}"] = rows
    for name, rows in files.items():
        _write(output / f"{name}.csv", ["text", "label"][: len(rows[0])], rows)
    (output / "data.yaml").write_text(SOURCES, encoding="utf-8")
    return {name: len(rows) for name, rows in files.items()}


def _write(path: Path, header: list[str], rows: Iterable[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("goemotions", "vader", "unlabelled", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    print(write_rows(**vars(parser.parse_args())))
