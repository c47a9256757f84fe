"""The example notebook shows what its cells give."""

import json

import pytest

from tools.notebook import NOTEBOOK, outputs_of


def test_the_notebook_shows_what_its_cells_give() -> None:
    pytest.importorskip("duckdb")
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    stored = [
        [line for output in cell["outputs"] for line in output["text"]]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    assert all(stored)
    assert outputs_of(notebook) == stored, "python -m tools.notebook runs it anew"
