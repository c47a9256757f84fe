"""A smaller encoder to distil into: fewer layers, a smaller vocabulary, or another width.

Layers and word embeddings are the base's own where the width is: a student of 2 layers and 3,000
WordPieces on MiniLM has 5 M parameters instead of 22.7 M and starts from what MiniLM knows, while
one of the same size but 128 wide would start from nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beam_bert.encoder.config import read_config
from beam_bert.errors import ConfigError, ModelError
from beam_bert.settings.limits import TOKENIZER_BYTES
from beam_bert.settings.naming import named
from beam_bert.settings.training import FinetuneConfig
from beam_bert.storage.regular_files import read_json
from beam_bert.tokenization.loading import load_backend
from beam_bert.training.network import from_pretrained
from beam_bert.training.saving import save_model

HEAD_SIZE = 32


def needs_student(config: FinetuneConfig) -> bool:
    """Whether a smaller encoder than the base is asked for."""
    return any((config.student_layers, config.student_hidden, config.student_vocabulary))


def spread_layers(layers: int, kept: int) -> list[int]:
    """Which of `layers` a student of `kept` starts from: the first, the last, evenly between."""
    if kept == 1:
        return [0]
    return [round(i * (layers - 1) / (kept - 1)) for i in range(kept)]


def make_student(base: Path, config: FinetuneConfig, texts: Sequence[str], folder: Path) -> None:
    """Write an untrained student of `base` to `folder`: config, weights, tokenizer.

    Args:
      base: folder of a BERT encoder.
      config: the `student_…` settings.
      texts: what its vocabulary must serve.
      folder: exists, empty.

    Raises:
      ConfigError: the base is not BERT, or the student would be larger than the base.
    """
    shape = read_config(base)
    if shape.family != "bert":
        raise ConfigError(
            f"{named('student_layers')} and the like make a student of a BERT encoder, and {base} "
            f"is {shape.family}; give the student as {named('base')}"
        )
    layers = config.student_layers or shape.num_layers
    if layers > shape.num_layers:
        raise ConfigError(f"{named('student_layers', layers)}: the base has {shape.num_layers}")
    model = from_pretrained("AutoModel", base)
    pieces: list[str] = []
    kept = np.arange(shape.vocab_size)
    if config.student_vocabulary is not None:
        pieces, kept = _vocabulary(base, config.student_vocabulary, texts)
    if config.student_hidden in (None, shape.hidden_size):
        student = _cut(model, spread_layers(shape.num_layers, layers), kept)
    else:
        student = _narrow(model.config, layers, int(config.student_hidden or 0), len(kept))
    save_model(student, base, folder, {})
    if pieces:
        _write_vocabulary(folder, pieces)


def _cut(model: Any, layers: list[int], kept: np.ndarray) -> Any:
    """The model with some of its layers and words; positions and all else as they are."""
    rows = torch.from_numpy(kept)
    words = model.embeddings.word_embeddings
    model.encoder.layer = torch.nn.ModuleList(model.encoder.layer[i] for i in layers)
    model.embeddings.word_embeddings = torch.nn.Embedding.from_pretrained(
        words.weight[rows].detach().clone(), freeze=False, padding_idx=words.padding_idx
    )
    model.config.num_hidden_layers = len(layers)
    model.config.vocab_size = len(kept)
    return model


def _narrow(config: Any, layers: int, hidden: int, vocabulary: int) -> Any:
    from transformers import AutoModel

    if hidden % HEAD_SIZE:
        raise ConfigError(f"{named('student_hidden', hidden)} must be a multiple of {HEAD_SIZE}")
    config.num_hidden_layers, config.hidden_size = layers, hidden
    config.num_attention_heads, config.intermediate_size = hidden // HEAD_SIZE, 4 * hidden
    config.vocab_size = vocabulary
    return AutoModel.from_config(config)


def _vocabulary(base: Path, size: int, texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The WordPieces to keep, and their ids in the base, both in the base's order.

    Kept are the special tokens, every single character (so that any word can be spelt) and the
    commonest pieces of the texts.
    """
    tokenizer = _wordpiece(base)
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    special = {token["content"] for token in tokenizer.get("added_tokens", [])}
    special.add(tokenizer["model"]["unk_token"])
    counts = _piece_counts(base, texts)
    characters = {
        piece
        for piece in pieces
        if len(piece.removeprefix("##")) == 1 and (piece.isascii() or counts[vocabulary[piece]])
    }
    must = (special & vocabulary.keys()) | characters
    if size < len(must):
        raise ConfigError(
            f"{named('student_vocabulary', size)} has no room for the {len(must)} special tokens "
            "and single characters; give more"
        )
    used = [piece for piece in pieces if piece not in must and counts[vocabulary[piece]]]
    used.sort(key=lambda piece: (-counts[vocabulary[piece]], vocabulary[piece]))
    chosen = must | set(used[: size - len(must)])
    kept = [piece for piece in pieces if piece in chosen]
    return kept, np.array([vocabulary[piece] for piece in kept], np.int64)


def _piece_counts(base: Path, texts: Sequence[str]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for encoding in load_backend(base).encode_batch_fast(list(texts), add_special_tokens=False):
        counts.update(encoding.ids)
    return counts


def _wordpiece(base: Path) -> dict[str, Any]:
    try:
        tokenizer: dict[str, Any] = read_json(base / "tokenizer.json", TOKENIZER_BYTES)
    except (OSError, ValueError) as error:
        raise ModelError(f"model {base}: a student needs its tokenizer.json ({error})") from None
    if tokenizer.get("model", {}).get("type") != "WordPiece":
        needing = named("student_vocabulary")
        raise ConfigError(f"{needing} needs a WordPiece tokenizer, as BERT's is")
    return tokenizer


def _write_vocabulary(folder: Path, pieces: list[str]) -> None:
    """Renumber the tokenizer's files in `folder` to these pieces."""
    tokenizer = _wordpiece(folder)
    numbers = {piece: i for i, piece in enumerate(pieces)}
    tokenizer["model"]["vocab"] = numbers
    tokenizer["added_tokens"] = [
        {**token, "id": numbers[token["content"]]} for token in tokenizer.get("added_tokens", [])
    ]
    processor = tokenizer.get("post_processor") or {}
    for token in processor.get("special_tokens", {}).values():  # TemplateProcessing
        token["ids"] = [numbers[name] for name in token["tokens"]]
    for part in ("sep", "cls"):  # BertProcessing
        if part in processor:
            processor[part] = [processor[part][0], numbers[processor[part][0]]]
    padding = tokenizer.get("padding")
    if padding:
        padding["pad_id"] = numbers[padding["pad_token"]]
    text = json.dumps(tokenizer, ensure_ascii=False)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    config = folder / "tokenizer_config.json"
    if config.is_file():
        values = json.loads(config.read_text("utf-8"))
        values.pop("added_tokens_decoder", None)
        config.write_text(json.dumps(values, indent=2), encoding="utf-8")
