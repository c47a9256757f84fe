"""Which texts a model was trained on: digests beside it, so that nobody measures it on those.

A digest is the first 8 bytes of `content_key`: equal where letters, digits and marks are.
"""

from __future__ import annotations

from collections.abc import Iterable

from beam_bert.models import ResolvedModel
from beam_bert.sources.opening import open_binary

TRAINED_ROWS = "training_rows.sha256"
DIGEST_BYTES = 8


def trained_rows_bytes(keys: Iterable[bytes], earlier: frozenset[bytes] = frozenset()) -> bytes:
    """The file: digests of these texts and of those that the base was trained on, sorted."""
    return b"".join(sorted(earlier | {key[:DIGEST_BYTES] for key in keys}))


def read_trained_rows(model: ResolvedModel) -> frozenset[bytes]:
    """What `trained_rows_bytes` left with a model; empty where nothing was."""
    if model.location.startswith(("hf://", "embedded:")):
        return frozenset()
    try:
        with open_binary(f"{model.location.rstrip('/')}/{TRAINED_ROWS}") as file:
            data = file.read()
    except FileNotFoundError:
        return frozenset()
    return frozenset(data[i : i + DIGEST_BYTES] for i in range(0, len(data), DIGEST_BYTES))
