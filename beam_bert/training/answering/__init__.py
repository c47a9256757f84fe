"""Question answering: `finetune` and `evaluate` are the ways in."""
