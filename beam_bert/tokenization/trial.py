"""Run by its path, in a process of its own: a few texts through the tokenizer given on stdin.

A tokenizer is a program that came with the model. What it does with the memory and time of this
process, it would do with those of every worker.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable

MEMORY_BYTES = 2 * 2**30  # XLM-R's 250,000 tokens take a tenth
SECONDS = 10
TEXTS = [
    "a",
    "Hello, world! It's 3 o'clock; http://example.com/?q=1&r=2 #tag @name",
    "ΑΒΓ ß İ ﷺ ﬁ é é 你好世界 नमस्ते שלום 👩‍👩‍👧 \u200b\ufeff",
    "a" * 4_096,
    "ab " * 2_048,
    " " * 4_096,
    "0" * 4_096,
    "([{<" * 1_024,
]
LONG = 32_768
MOST_CHARACTERS = 64


def _main(memory_bytes: int, seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from tokenizers import Tokenizer

    written = sys.stdin.read()
    try:
        tokenizer = Tokenizer.from_str(written)
    except MemoryError:
        raise
    except Exception:  # what cannot be read fails again, and is told, where it is loaded
        return
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for text in TEXTS:
        _try(tokenizer.encode, text)
    for character in sorted(_characters(written))[:MOST_CHARACTERS]:
        for part, method in ("normalizer", "normalize_str"), ("pre_tokenizer", "pre_tokenize_str"):
            if found := getattr(tokenizer, part):
                _try(getattr(found, method), character * LONG)


def _characters(tokenizer: str) -> set[str]:
    """Those that regular expressions name: on many of them they may take time by the square."""
    patterns = re.findall(r'"Regex"\s*:\s*("(?:[^"\\]|\\.)*")', tokenizer)
    return set("a0. ").union(*map(json.loads, patterns)) if patterns else set()


def _try(function: Callable[[str], object], text: str) -> None:
    try:
        function(text)
    except MemoryError:
        raise
    except BaseException:  # a text that it cannot take is a reject, see backend.py
        return


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
