"""A command each: check, run, tell."""
