"""A checkpoint's own tokenizer (Hugging Face `tokenizers`): flat ids, and its special tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from beam_bert.errors import ModelError

# The tokenizer spreads a call over the cores; a chunk bounds the Python lists that it returns.
CHUNK_DOCUMENTS = 2_048
CHUNK_CHARACTERS = 8 * 2**20

# Without any of these, transformers would make up a tokenizer that knows no word.
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_quiet = threading.Lock()


def load_backend(folder: Path) -> Any:
    """The `tokenizers.Tokenizer` of a checkpoint, without truncation or padding.

    Raises:
      ModelError: the folder has none that can be loaded.
    """
    if not any(path for name in VOCABULARY_FILES for path in folder.glob(name)):
        raise ModelError(f"model {folder} has no tokenizer; it needs tokenizer.json or vocab.txt")
    if (backend := _as_it_stands(folder)) is not None:
        return backend
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        backend = tokenizer.backend_tokenizer
    except Exception as error:  # whatever a damaged file makes a parser raise
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"model {folder}: its tokenizer cannot be loaded ({reason})") from None
    backend.no_truncation()
    backend.no_padding()
    return backend


# transformers loads tokenizer.json unchanged for these classes, and what the config may say beside.
_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
_PLAIN_SETTINGS = {"tokenizer_class", "model_max_length", "model_input_names", "do_lower_case"}


def _as_it_stands(folder: Path) -> Any | None:
    """The tokenizer of tokenizer.json alone, where transformers would load that very thing.

    It takes 0.1 s in place of the seconds that importing transformers takes. Other classes are
    made anew by transformers from parts of the file; None then.
    """
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        if config.pop("tokenizer_class", None) not in _PLAIN_CLASSES:
            return None
        tokens = {v for k, v in config.items() if k.endswith("_token") and isinstance(v, str)}
        others = {k for k in config if not k.endswith("_token")} - _PLAIN_SETTINGS
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        added = {token.content for token in backend.get_added_tokens_decoder().values()}
    except Exception:  # whatever a damaged file makes a parser raise: the long way tells of it
        return None
    if others or not tokens <= added:
        return None
    backend.no_truncation()
    backend.no_padding()
    return backend


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' remarks and bars while the body loads something; then as before."""
    from transformers.utils import logging

    with _quiet:
        verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if has_bar:
                logging.enable_progress_bar()


def encode(backend: Any, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Ids of all texts end to end, int32 [tokens], and their lengths, int64 [texts]."""
    pieces: list[np.ndarray] = []
    lengths = np.zeros(len(texts), np.int64)
    for start, stop in chunks(texts):
        encodings = backend.encode_batch_fast(list(texts[start:stop]), add_special_tokens=False)
        for row, encoding in enumerate(encodings, start):
            piece = np.array(encoding.ids, np.int32)
            pieces.append(piece)
            lengths[row] = len(piece)
    return (np.concatenate(pieces) if pieces else np.zeros(0, np.int32)), lengths


@dataclass(frozen=True)
class Template:
    """Where a tokenizer puts its special tokens, learnt from what it does with a probe."""

    prefix: np.ndarray
    middle: np.ndarray
    suffix: np.ndarray
    middle_in_first: int
    has_types: bool

    @property
    def special_tokens(self) -> int:
        """Special tokens of a window."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    @staticmethod
    def of(backend: Any, *, pair: bool) -> Template:
        """What the tokenizer puts around one segment, or around two."""
        segments = ("a", "b") if pair else ("a",)
        encoding = backend.encode(*segments)
        ids = np.array(encoding.ids, np.int32)
        # None marks a special token, else it is the segment's number.
        owners = np.array([-1 if each is None else each for each in encoding.sequence_ids])
        first = np.flatnonzero(owners == 0)
        last = np.flatnonzero(owners == (1 if pair else 0))
        middle = slice(first[-1] + 1, last[0]) if pair else slice(0, 0)
        types = np.array(encoding.type_ids)
        return Template(
            prefix=ids[: first[0]],
            middle=ids[middle],
            suffix=ids[last[-1] + 1 :],
            middle_in_first=int((types[middle] == 0).sum()),
            has_types=bool(types.any()),
        )


def chunks(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Where to cut `texts` into calls of the tokenizer: start and stop of each."""
    found, start, characters = [], 0, 0
    for row, text in enumerate(texts):
        if row > start and (
            row - start >= CHUNK_DOCUMENTS or characters + len(text) > CHUNK_CHARACTERS
        ):
            found.append((start, row))
            start, characters = row, 0
        characters += len(text)
    if start < len(texts):
        found.append((start, len(texts)))
    return found
