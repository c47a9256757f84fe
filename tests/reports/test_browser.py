"""The pages in a real browser, narrow and wide, light and dark: nothing runs out of the window.

Needs Debian's chromium; `BEAM_BERT_SCREENSHOTS=FOLDER` keeps the pictures.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from beam_bert.reports import Examples, render_evaluation, render_run_report
from tests.reports.test_pages import evaluation, manifest

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
# Asks the page itself whether it is wider than its window.
PROBE = (
    "<script>document.title = 'wide:' + "
    "(document.documentElement.scrollWidth - document.documentElement.clientWidth)</script>"
)


def pages() -> dict[str, str]:
    examples = Examples(
        columns=["doc_id", "label", "score"],
        predictions=[{"doc_id": "a" * 200, "label": "good", "score": 0.5}],
        rejects=[
            {
                "source_file": "b" * 200,
                "source_row": 1,
                "reason": "empty_text",
                "message": "c" * 300,
            }
        ],
    )
    return {
        "run": render_run_report(manifest(labels=12), examples),
        "evaluation": render_evaluation(evaluation("word " * 60)),
    }


@pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")
@pytest.mark.parametrize("width", [500, 1200])
@pytest.mark.parametrize("name", ["run", "evaluation"])
def test_nothing_overflows(tmp_path: Path, name: str, width: int) -> None:
    page = pages()[name]
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    flags = [*QUIET, f"--window-size={width},1600", f"--user-data-dir={tmp_path / 'profile'}"]
    dumped = subprocess.run(
        [str(CHROMIUM), *flags, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    assert "<title>wide:0</title>" in dumped, re.findall("<title>.*?</title>", dumped)
    if folder := os.environ.get("BEAM_BERT_SCREENSHOTS"):
        shot = Path(folder) / f"{name}-{width}.png"
        subprocess.run(
            [str(CHROMIUM), *flags, f"--screenshot={shot}", file.as_uri()], check=True, timeout=120
        )
