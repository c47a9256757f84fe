"""The software that an answer depends on, by name and version."""

from __future__ import annotations

import importlib.metadata
from functools import cache

__version__ = "0.1.0"
COMPUTING = ("torch", "transformers", "tokenizers", "pyarrow")


def software_versions(*, beam: bool = False) -> dict[str, str]:
    """Names and versions of what computes; with Beam's, which only the pipelines run on."""
    names = ("apache-beam", *COMPUTING) if beam else COMPUTING
    return {"beam-bert": __version__, **{name: _version(name) for name in names}}


@cache  # which lists the folders of installed packages
def _version(name: str) -> str:
    return importlib.metadata.version(name)
