"""Measuring answers to questions: `run.evaluate` is the way in."""
