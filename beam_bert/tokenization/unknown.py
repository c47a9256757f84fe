"""Say, once a model, where it knows few of the words: a wrong vocabulary fails at nothing."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from beam_bert.errors import printable

logger = logging.getLogger(__name__)

# Of a text's tokens: real text in a language that the model knows has one in a hundred.
MOST_UNKNOWN = 0.5


class Unknown:
    """The share of unknown tokens in the first texts that a tokenizer sees."""

    def __init__(self, folder: Path, backend: Any) -> None:
        self._folder = folder
        self._id = unknown_id(backend)

    def look_at(self, ids: np.ndarray) -> None:
        """Warn where most of the first texts' tokens, ids without special ones, are unknown."""
        unknown = self._id
        if unknown is None or len(ids) == 0:
            return
        self._id = None
        if float((ids == unknown).mean()) > MOST_UNKNOWN:
            _warn(self._folder)


@lru_cache  # a process may have several tokenizers of a model: at launch, in each step
def _warn(folder: Path) -> None:
    logger.warning(
        "%s: most tokens of the first texts are unknown to the model: is it one for texts of this "
        "language, and are its tokenizer's files whole?",
        printable(str(folder)),
    )


def unknown_id(backend: Any) -> int | None:
    """The id of what the vocabulary has not; None where every text can be spelt."""
    token = getattr(backend.model, "unk_token", None)
    if token is not None:
        unknown: int | None = backend.token_to_id(token)
        return unknown
    # Unigram has the id alone, and shows it in its JSON alone.
    shown = re.search(rb'"type":"Unigram","unk_id":(\d+)', backend.model.__getstate__()[:100])
    return int(shown[1]) if shown else None
