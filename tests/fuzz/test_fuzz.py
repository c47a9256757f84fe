"""1,000 hostile documents, the same each time; `python -m tests.fuzz.fuzzing 9000 7` has others."""

from __future__ import annotations

import subprocess
import sys

from tests.platform.terraform_files import ROOT


def test_no_document_gets_more_than_a_line_out_of_its_reader_or_touches_what_is_beside() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.fuzzing", "1000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-5_000:]
