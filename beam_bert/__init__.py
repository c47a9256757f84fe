"""Batch BERT inference on Apache Beam: raw text in, Parquet out, no row lost or doubled.

In somebody else's pipeline (imported on first use, so that `import beam_bert` stays light):

    from beam_bert import ClassifyText

    with beam.Pipeline() as p:
        p | beam.Create(["I love this"]) | ClassifyText() | beam.Map(print)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_bert.rows import ClassifyText as ClassifyText

__version__ = "0.1.0"
__all__ = ["ClassifyText", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "ClassifyText":
        from beam_bert.rows import ClassifyText

        return ClassifyText
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
