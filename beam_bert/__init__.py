"""Batch BERT inference on Apache Beam: raw text in, Parquet out, no row lost or doubled.

The jobs are functions (imported on first use, so that `import beam_bert` stays light):

    import beam_bert

    beam_bert.sentiment(input="reviews.csv", output="out/")

In somebody else's pipeline: rows in and the same rows with answers out, or files in and whole
batches of answers out.

    from beam_bert import Classify, ClassifyText, ReadDocuments

    with beam.Pipeline() as p:
        p | beam.Create(["I love this"]) | ClassifyText() | beam.Map(print)
        p | ReadDocuments("in/*.jsonl") | Classify("sentiment-small-en") | beam.Map(print)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_bert.errors import BeamBertError as BeamBertError
    from beam_bert.jobs.library import answer as answer
    from beam_bert.jobs.library import classify as classify
    from beam_bert.jobs.library import evaluate as evaluate
    from beam_bert.jobs.library import finetune as finetune
    from beam_bert.jobs.library import nightly as nightly
    from beam_bert.jobs.library import pretrain as pretrain
    from beam_bert.jobs.library import sentiment as sentiment
    from beam_bert.pipeline.classify import Classify as Classify
    from beam_bert.pipeline.classify_text import ClassifyText as ClassifyText
    from beam_bert.pipeline.read import ReadDocuments as ReadDocuments
    from beam_bert.software import __version__ as __version__

_MODULES = {
    "BeamBertError": "errors",
    "Classify": "pipeline.classify",
    "ClassifyText": "pipeline.classify_text",
    "ReadDocuments": "pipeline.read",
    "answer": "jobs.library",
    "classify": "jobs.library",
    "evaluate": "jobs.library",
    "finetune": "jobs.library",
    "nightly": "jobs.library",
    "pretrain": "jobs.library",
    "sentiment": "jobs.library",
    "__version__": "software",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"beam_bert.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
