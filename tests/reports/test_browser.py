"""The pages in a real browser, narrow and wide, light and dark: nothing runs out of the window.

Needs Debian's chromium; `BEAM_BERT_SCREENSHOTS=FOLDER` keeps the pictures.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from beam_bert.reports.pages import Examples, render_evaluation, render_run_report
from tests.reports.test_pages import evaluation, manifest, night_page

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
# Asks the page itself whether it is wider than its window, whether it is dark, and how well its
# palest words stand out (WCAG 2's contrast ratio); drawings have a ground of their own.
PROBE = r"""<script>
  const rgb = text => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (; element; element = element.parentElement) {
      const colour = rgb(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  let least = 99;
  for (const element of document.querySelectorAll("body *:not(svg *):not(script)")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  const root = document.documentElement;
  document.title = JSON.stringify({
    wide: root.scrollWidth - root.clientWidth,
    dark: light(ground(document.body)) < 0.2,
    contrast: least,
  });
</script>"""
DARK = "--blink-settings=preferredColorScheme=0"


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
        "night": night_page("word " * 60),
    }


@pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")
@pytest.mark.parametrize(("width", "is_dark"), [(500, True), (1200, False)])
@pytest.mark.parametrize("name", ["run", "evaluation", "night"])
def test_nothing_overflows_and_all_words_can_be_read(
    tmp_path: Path, name: str, width: int, is_dark: bool
) -> None:
    page = pages()[name]
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    flags = [*QUIET, f"--window-size={width},1600", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += [DARK] if is_dark else []
    dumped = subprocess.run(
        [str(CHROMIUM), *flags, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    found = json.loads(html.unescape(re.findall("<title>(.*?)</title>", dumped)[0]))
    assert (found["wide"], found["dark"]) == (0, is_dark)
    assert found["contrast"] >= 4.5
    if folder := os.environ.get("BEAM_BERT_SCREENSHOTS"):
        shot = Path(folder) / f"{name}-{width}.png"
        subprocess.run(
            [str(CHROMIUM), *flags, f"--screenshot={shot}", file.as_uri()], check=True, timeout=120
        )
