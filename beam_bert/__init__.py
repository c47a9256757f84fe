"""Batch BERT inference on Apache Beam: raw text in, Parquet out, no row lost or doubled."""

__version__ = "0.1.0"
