"""How the project's own models are made: fine-tuning, distilling, evaluating."""
