"""Pictures of the three reports for docs/: python -m tools.screenshots

Real runs of the embedded model on the examples, drawn by Debian's chromium. Run it again when the
pages have changed.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from beam_bert.models import ModelStore
from beam_bert.models.resolve import EMBEDDED_FOLDER
from beam_bert.settings.inference import EMBEDDED_SENTIMENT

ROOT = Path(__file__).parents[1]
EXAMPLES, PICTURES = ROOT / "examples", ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 900, 980
NIGHTS = ("2026-11-28", "2026-11-29", "2026-11-30")


def main() -> None:
    """Make the pages in a folder that is thrown away, and keep their pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for page, picture in (
            (_run(folder), "run.png"),
            (_evaluation(folder), "evaluation.png"),
            (_nights(folder), "night.png"),
        ):
            _draw(page, PICTURES / picture, folder)


def _run(folder: Path) -> Path:
    """The reviews, with a few rows that cannot be used."""
    lines = (EXAMPLES / "reviews.jsonl").read_text(encoding="utf-8").splitlines()
    bad = ['{"id": "r037", "text": ""}', '{"id": "r038", "text": 5}', '{"id": "r039", "text": "no']
    (folder / "reviews.jsonl").write_text("\n".join([*lines, *bad]) + "\n", encoding="utf-8")
    job = ["--input", "reviews.jsonl", "--output", "out", "--id_column", "id"]
    _command(folder, "sentiment", *job, "--max_reject_rate", "0.1")
    return next(folder.glob("out/runs/*/report.html"))


def _evaluation(folder: Path) -> Path:
    rows = ["--input", str(EXAMPLES / "labelled_reviews.csv"), "--label_column", "label"]
    rows += ["--slices", "channel", "--output", "evaluation"]
    _command(folder, "evaluate", "--model", EMBEDDED_SENTIMENT, *rows)
    return folder / "evaluation" / "report.html"


def _nights(folder: Path) -> Path:
    """Three nights: a first model is promoted, reviews come in, a second is no better."""
    model, store = EMBEDDED_FOLDER / EMBEDDED_SENTIMENT, ModelStore(folder / "store")
    config = {
        "store": "store",
        "task": "sentiment",
        "evaluate": {"input": str(EXAMPLES / "labelled_reviews.csv"), "label_column": "label"},
        "gate": {"minimum_rows": 30},
        "classify": {"input": "in", "output": "table", "partition": "night={date}"},
    }
    (folder / "nightly.yaml").write_text(yaml.safe_dump(config))
    (folder / "in").mkdir()
    with (EXAMPLES / "reviews.csv").open(encoding="utf-8") as file:
        reviews = list(csv.DictReader(file))
    for number, date in enumerate(NIGHTS):
        new = "".join(json.dumps(row) + "\n" for row in reviews[12 * number : 12 * number + 12])
        (folder / "in" / f"{date}.jsonl").write_text(new, encoding="utf-8")
        if number != 1:
            version = store.publish(model, notes=f"made for {date}").version
            store.set_alias("candidate", version, reason=f"made for {date}")
        _command(folder, "nightly", "--config", "nightly.yaml", "--date", date)
    return folder / "table" / "nights" / NIGHTS[-1] / "night.html"


def _command(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "beam_bert", *words]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _draw(page: Path, picture: Path, folder: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("error: chromium is missing: apt-get install chromium")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    quiet += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    window = [f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars", f"--user-data-dir={folder}/p"]
    subprocess.run(
        [chromium, *quiet, *window, f"--screenshot={picture}", page.as_uri()],
        check=True,
        capture_output=True,
    )
    print(f"{picture}: {picture.stat().st_size / 1000:,.0f} kB")


if __name__ == "__main__":
    main()
