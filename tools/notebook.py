"""Runs the example notebook and writes down what its cells show: python -m tools.notebook

A cell runs as Jupyter would run it, without a kernel: its output is what it prints, then the value
of its last line. tests/docs/test_notebook.py holds the stored outputs to what the cells show.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOK = EXAMPLES / "reviews.ipynb"


def outputs_of(notebook: dict[str, Any]) -> list[list[str]]:
    """What each code cell shows, as lines; run beside a copy of the reviews."""
    names: dict[str, Any] = {}
    shown = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(EXAMPLES / "reviews.csv", folder)
        os.chdir(folder)
        try:
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    shown.append(_run("".join(cell["source"]), names).splitlines(keepends=True))
        finally:
            os.chdir(before)
    return shown


def _run(source: str, names: dict[str, Any]) -> str:
    body = ast.parse(source).body
    last = body.pop().value if isinstance(body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last), "cell", "eval"), names)
    return printed.getvalue() + ("" if value is None else f"{value!r}")


def main() -> None:
    """Run the notebook and write it with its outputs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, lines) in enumerate(zip(code, outputs_of(notebook), strict=True), 1):
        cell["execution_count"] = number
        output = {"output_type": "stream", "name": "stdout", "text": lines}
        cell["outputs"] = [output] if lines else []
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
