"""Labelled rows: what training and evaluation both read."""
