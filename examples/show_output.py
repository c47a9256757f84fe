"""Print the first rows of a finished run's predictions, and what was rejected.

python examples/show_output.py out/demo
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table

ROWS = 12


def main(output: str) -> None:
    """Read OUTPUT/predictions and OUTPUT/rejects as any Parquet reader would."""
    for name in ("predictions", "rejects"):
        if not (Path(output) / name).is_dir():
            continue
        dataset = ds.dataset(f"{output}/{name}", partitioning="hive")
        wanted = ("doc_id", "sentiment", "polarity", "label", "score", "text", "reason", "message")
        columns = [column for column in wanted if column in dataset.schema.names]
        table = Table(title=f"{name}: {dataset.count_rows()} rows", title_justify="left")
        for column in columns:
            table.add_column(column)
        for row in dataset.head(ROWS, columns=columns).to_pylist():
            cells = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
            table.add_row(*cells)
        Console().print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
