"""Model folders made in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def make_model(folder: Path, seed: int = 0) -> Path:
    """A folder that is a model to everybody but the encoder: a config, weights, a vocabulary."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "seed": seed}))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    (folder / "README.md").write_text("# A card\n")
    weights = np.random.default_rng(seed).standard_normal(1000, dtype=np.float32)
    save_file({"weight": weights}, folder / "model.safetensors")
    return folder
