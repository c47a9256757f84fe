"""Batch BERT inference on Apache Beam: raw text in, Parquet out, no row lost or doubled.

In somebody else's pipeline (imported on first use, so that `import beam_bert` stays light): rows in
and the same rows with answers out, or files in and whole batches of answers out.

    from beam_bert import Classify, ClassifyText, ReadDocuments

    with beam.Pipeline() as p:
        p | beam.Create(["I love this"]) | ClassifyText() | beam.Map(print)
        p | ReadDocuments("in/*.jsonl") | Classify("sentiment-small-en") | beam.Map(print)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_bert.pipeline.classify import Classify as Classify
    from beam_bert.pipeline.classify_text import ClassifyText as ClassifyText
    from beam_bert.pipeline.read import ReadDocuments as ReadDocuments

__version__ = "0.1.0"
__all__ = ["Classify", "ClassifyText", "ReadDocuments", "__version__"]

_MODULES = {
    "ClassifyText": "pipeline.classify_text",
    "Classify": "pipeline.classify",
    "ReadDocuments": "pipeline.read",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"beam_bert.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
