"""The most that a file from outside may hold, in one place: beyond it, it is refused in one line.

What is real stays far below: config.json has a few kB, and 100 kB with 1,000 long labels; the
largest published tokenizer.json (XLM-R's) has 17 MB.
"""

from __future__ import annotations

CONFIG_JSON_BYTES = 4 * 2**20
INDEX_BYTES = 16 * 2**20
# Of a tokenizer's files, each.
TOKENIZER_BYTES = 64 * 2**20
YAML_BYTES = 2**20
LABEL_NAMES_BYTES = 2**24
# What a safetensors file says of its tensors; BERT-large's has 40 kB.
WEIGHTS_HEADER_BYTES = 16 * 2**20
LABELS = 65_536
TOKEN_TYPES = 16
LABEL_CHARACTERS = 1_000
# A manifest has about 300 bytes for each shard and input file.
RUN_DOCUMENT_BYTES = 2**30

YAML_LEVELS = 32
YAML_NODES = 200_000

# Bytes that the rules of a tokenizer's normalizer may make of one: XLM-R's make 66.
NORMALIZER_GROWTH = 4_096
# The same for what cuts a text into words: byte-level words after sentencepiece's make 16.
WORDS_GROWTH = 16
# Of a word that is cut into pieces (BERT's: 100), of a piece (sentencepiece's: 16) and its marks.
WORD_CHARACTERS = 256
# Of a normalized text, beyond a few times its own size.
NORMALIZED_BYTES = 32 * 2**20

# Up to so much `compact` merges; two such files are in memory, unpacked.
COMPACTED_MIB = 64
