"""Measuring a model on labelled rows: `run.evaluate` is the way in."""
