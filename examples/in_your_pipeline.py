"""Classify text inside a Beam pipeline of your own.

Rows in, the same rows with answers out (ClassifyText); or files of any format that the jobs read,
and batches of answers out, one for each slice of a file (ReadDocuments, Classify).

python examples/in_your_pipeline.py
"""

from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam

from beam_bert import Classify, ClassifyText, ReadDocuments

REVIEWS = Path(__file__).parent / "reviews.jsonl"


def main() -> None:
    """Count the sentiments of the example reviews by channel, then their labels, and print both."""
    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromText(str(REVIEWS))
            | beam.Map(json.loads)
            | ClassifyText(sentiment=True)
            | beam.Map(lambda row: (row.channel, row.sentiment or row.reject_reason))
            | beam.combiners.Count.PerElement()
            | beam.MapTuple(lambda key, count: f"{key[0]:6} {key[1]:9} {count}")
            | beam.Map(print)
        )
    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | ReadDocuments(str(REVIEWS))
            | Classify(model="sentiment-small-en")
            | beam.FlatMap(lambda batch: batch.rows["label"].to_pylist())
            | beam.combiners.Count.PerElement()
            | beam.MapTuple(lambda label, count: f"labels {label:9} {count}")
            | beam.Map(print)
        )


if __name__ == "__main__":
    main()
