"""Measuring a classifier on labelled rows: `run.evaluate` is the way in."""
