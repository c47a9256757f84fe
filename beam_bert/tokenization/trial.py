"""Run by its path, in a process of its own: a few texts through the tokenizer given on stdin.

A tokenizer is a program that came with the model. What it does with the memory and time of this
process, it would do with those of every worker.
"""

from __future__ import annotations

import resource
import sys

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


def _main(memory_bytes: int, seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(sys.stdin.read())
    for text in TEXTS:
        try:
            tokenizer.encode(text)
        except MemoryError:
            raise
        except BaseException:  # a text that it cannot take is a reject, see backend.py
            continue


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
