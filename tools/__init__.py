"""Programs of the people who build beam_bert; not in the wheel."""
