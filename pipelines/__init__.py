"""Entry points: `python -m pipelines.<job>`; each parses, calls one library function and exits."""
