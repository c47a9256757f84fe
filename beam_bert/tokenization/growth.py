"""How much a tokenizer can make of a text, and how long it can take: bounded by its rules.

A normalizer comes with the model and is a small program. One that doubles, forty times in a row,
makes terabytes of a word. What its rules can make at most is read off them; a text that could grow
too far is normalized in pieces first, to see whether it does.
"""

from __future__ import annotations

import base64
import json
import struct
from functools import lru_cache
from math import ceil, prod
from typing import Any

from tokenizers.models import Unigram

from beam_bert.settings.limits import NORMALIZED_BYTES, WORD_CHARACTERS

_BYTES_A_CHARACTER = 4
# What NFKC makes of U+FDFA is 11 times as long: as far as Unicode itself goes.
_UNICODE_GROWTH = 11


def growth_of(backend: Any) -> int:
    """Bytes that the normalizer of a `tokenizers.Tokenizer` makes of one at most, by its rules.

    What Unicode's own forms add is left out, see `grows_too_far`.
    """
    return _growth_of_part(backend.normalizer)


def growth_in_words(backend: Any) -> int:
    """Bytes that its pre-tokenizer makes of one at most: those that split also write."""
    return _growth_of_part(backend.pre_tokenizer)


def slow_rule(backend: Any) -> str | None:
    """What of its model takes time by the square of a text's length; None: nothing does."""
    model = backend.model
    names = ("continuing_subword_prefix", "end_of_word_suffix")
    lengths = {name: len(getattr(model, name, None) or "") for name in names}
    lengths["max_input_chars_per_word"] = getattr(model, "max_input_chars_per_word", 0)
    if isinstance(model, Unigram):
        pieces = backend.get_vocab(with_added_tokens=False)
        lengths["longest piece"] = max(map(len, pieces), default=0)
    name, length = max(lengths.items(), key=lambda item: item[1])
    return f"{name} has {length:,} characters" if length > WORD_CHARACTERS else None


def _growth_of_part(part: Any) -> int:
    return 1 if part is None else _growth_of_rules(bytes(part.__getstate__()))


@lru_cache(maxsize=16)
def _growth_of_rules(rules: bytes) -> int:
    return growth_by(json.loads(rules))


def growth_by(rule: dict[str, Any]) -> int:
    """Bytes that a normalizer or pre-tokenizer, as tokenizer.json has it, makes of one at most."""
    kind = rule.get("type")
    if kind == "Sequence":
        return prod(map(growth_by, rule.get("normalizers") or rule.get("pretokenizers") or ()))
    if kind == "BertNormalizer":
        return 2  # blanks around each Chinese character
    if kind == "ByteLevel":
        # A byte becomes a character of two; a pre-tokenizer's may write a blank before it.
        return 4 if "add_prefix_space" in rule else 2
    if kind == "Metaspace":
        return 1 + len(rule["replacement"].encode())
    if kind == "Prepend":
        return 1 + len(rule["prepend"].encode())
    if kind == "Precompiled":
        return _longest_replacement(rule["precompiled_charsmap"])
    if kind == "Replace":
        content = len(rule["content"].encode())
        replaced = len(rule["pattern"].get("String", "").encode())
        # A regular expression may match nothing, between any two characters.
        return max(1, ceil(content / replaced)) if replaced else 1 + content
    return 1


def _longest_replacement(charsmap: str | list[int]) -> int:
    """Of sentencepiece's table: the size of a trie, the trie, and replacements that end in NUL."""
    data = bytes(charsmap) if isinstance(charsmap, list) else base64.b64decode(charsmap)
    if len(data) < 4:
        return 1
    replacements = data[4 + struct.unpack("<I", data[:4])[0] :]
    return max(1, *map(len, replacements.split(b"\0")))


def grows_too_far(backend: Any, text: str, growth: int) -> bool:
    """Whether a text becomes many times as long as it is, and too long to be worth its memory."""
    growth *= _UNICODE_GROWTH
    if _BYTES_A_CHARACTER * len(text) * growth <= NORMALIZED_BYTES:
        return False
    piece = max(1, NORMALIZED_BYTES // (_BYTES_A_CHARACTER * growth))
    most, size = NORMALIZED_BYTES + 2 * _BYTES_A_CHARACTER * len(text), 0
    for start in range(0, len(text), piece):
        size += len(backend.normalizer.normalize_str(text[start : start + piece]).encode())
        if size > most:
            return True
    return False
