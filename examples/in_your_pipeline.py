"""Classify text inside a Beam pipeline of your own: rows in, the same rows with answers out.

python examples/in_your_pipeline.py
"""

from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam

from beam_bert import ClassifyText

REVIEWS = Path(__file__).parent / "reviews.jsonl"


def main() -> None:
    """Count the sentiments of the example reviews by channel, and print the counts."""
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


if __name__ == "__main__":
    main()
