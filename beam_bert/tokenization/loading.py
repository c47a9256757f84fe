"""A checkpoint's own tokenizer (Hugging Face `tokenizers`), from what its digest covers alone.

A tokenizer is data and rules that came with the model, and may be hostile. It is built in a folder
that holds the model's files and no others, from those fields of tokenizer_config.json that name no
file; a process of its own tries it first, then its rules and its ids are checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic_core import from_json
from tokenizers import Tokenizer

from beam_bert.errors import ModelError, shortened, shown
from beam_bert.settings.limits import (
    CONFIG_JSON_BYTES,
    NORMALIZER_GROWTH,
    TOKENIZER_BYTES,
    WORD_CHARACTERS,
    WORDS_GROWTH,
)
from beam_bert.storage.model_files import is_model_file, not_a_model_file
from beam_bert.storage.regular_files import read_json, read_regular
from beam_bert.tokenization import trial
from beam_bert.tokenization.growth import growth_by, growth_in_words, growth_of, slow_rule

_CONFIG_FIELDS = {"model_type", "tokenizer_class"}
# Those that say how to tokenize. Others name files, code or templates, or are for generation.
_TOKENIZER_FIELDS = {
    *(f"{name}_token" for name in ("unk", "sep", "pad", "cls", "mask", "bos", "eos")),
    "add_prefix_space",
    "added_tokens_decoder",
    "additional_special_tokens",
    "do_basic_tokenize",
    "do_lower_case",
    "extra_special_tokens",
    "never_split",
    "strip_accents",
    "tokenize_chinese_chars",
    "tokenizer_class",
    "trim_offsets",
}


_TOKEN_FIELDS = {"content", "lstrip", "normalized", "rstrip", "single_word", "special", "__type"}
# transformers loads tokenizer.json unchanged for these classes, and what the config may say beside.
_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
_PLAIN_SETTINGS = {"tokenizer_class", "model_max_length", "model_input_names", "do_lower_case"}
# What comes with this package was tried before it was put there.
_PACKAGE = Path(__file__).parents[1]
_quiet = threading.Lock()


def load_backend(folder: Path) -> Any:
    """The `tokenizers.Tokenizer` of a checkpoint, without truncation or padding.

    Raises:
      ModelError: as `load_tokenizer`.
    """
    _try_as_written(folder)
    backend = _as_it_stands(folder)
    if backend is None:
        return _by_transformers(folder).backend_tokenizer
    _check(folder, backend)
    return backend


def _as_it_stands(folder: Path) -> Any | None:
    """The tokenizer of tokenizer.json alone, where transformers would load that very thing.

    It takes 0.1 s in place of the seconds that importing transformers takes. Other classes are
    made anew by transformers from parts of the file; None then.
    """
    try:
        config = _object(folder / "tokenizer_config.json")
        if config.pop("tokenizer_class", None) not in _PLAIN_CLASSES:
            return None
        tokens = {v for k, v in config.items() if k.endswith("_token") and isinstance(v, str)}
        others = {k for k in config if not k.endswith("_token")} - _PLAIN_SETTINGS
        text = read_regular(folder / "tokenizer.json", TOKENIZER_BYTES).decode()
        backend = Tokenizer.from_str(text)
        added = {token.content for token in backend.get_added_tokens_decoder().values()}
    except BaseException as error:  # what a damaged file makes a parser raise: the long way tells
        if not is_of_tokenizer(error):
            raise
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


def load_tokenizer(folder: Path) -> Any:
    """The checkpoint's tokenizer as `transformers` has it, its `backend_tokenizer` checked.

    Raises:
      ModelError: the folder has none that can be loaded, or it is not fit for the model.
    """
    _try_as_written(folder)
    return _by_transformers(folder)


def _by_transformers(folder: Path) -> Any:
    """The tokenizer of a folder whose tokenizer.json was tried, as transformers makes it."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="beam_bert-") as closed:
        _fill(Path(closed), folder)
        try:
            with quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(
                    closed, local_files_only=True, trust_remote_code=False
                )
            backend = tokenizer.backend_tokenizer
            backend.no_truncation()
            backend.no_padding()
        except BaseException as error:  # whatever a damaged file makes a parser raise
            if not is_of_tokenizer(error):
                raise
            reason = shortened(" ".join(str(error).split()).replace(closed, str(folder)))
            raise ModelError(f"model {folder}: its tokenizer cannot be loaded ({reason})") from None
        _require_files(folder, tokenizer)
    _check(folder, backend)
    _try(folder, backend.to_str())
    return tokenizer


def is_of_tokenizer(error: BaseException) -> bool:
    """Whether an error is the tokenizer's own, a panic of its Rust code included."""
    # pyo3's PanicException is no Exception, and cannot be imported.
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _fill(closed: Path, folder: Path) -> None:
    """Put into `closed` what a tokenizer may be made of."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".safetensors" or not is_model_file(path.name) or not path.is_file():
            continue
        if path.stat().st_size > TOKENIZER_BYTES:
            raise ModelError(f"{path} has more than {TOKENIZER_BYTES:,} bytes: no tokenizer does")
        if problem := not_a_model_file(path):
            raise ModelError(f"{path} {problem}")
        (closed / path.name).symlink_to(path.resolve())
    for name, fields in {
        "config.json": _CONFIG_FIELDS,
        "tokenizer_config.json": _TOKENIZER_FIELDS,
    }.items():
        if (closed / name).exists():
            values = _object(folder / name)
            (closed / name).unlink()
            kept = {key: _plain(value) for key, value in values.items() if key in fields}
            (closed / name).write_text(json.dumps(kept))
    if (closed / "tokenizer_config.json").exists():
        _check_file_names(folder, _object(folder / "tokenizer_config.json"))


def _plain(value: Any) -> Any:
    """A value without fields that a token has not: `tokenizers` would print them as they are."""
    if isinstance(value, dict):
        fields = _TOKEN_FIELDS if _TOKEN_FIELDS & value.keys() else value.keys()
        return {key: _plain(part) for key, part in value.items() if key in fields}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _object(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path, CONFIG_JSON_BYTES)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a JSON object; copy the checkpoint again")
    return values


def _check_file_names(folder: Path, values: dict[str, Any]) -> None:
    """Say what would be left out: tokenizer.json stands where the configuration names others."""
    names = values.get("fast_tokenizer_files")
    for name in names if isinstance(names, list) else [names] if names else []:
        if name != "tokenizer.json":
            raise ModelError(
                f"{folder / 'tokenizer_config.json'}: fast_tokenizer_files names {shown(name)}; "
                "only tokenizer.json is read, rename the one you want"
            )


def _require_files(folder: Path, tokenizer: Any) -> None:
    """Without its own files, transformers makes up a tokenizer that knows no word."""
    names = dict(tokenizer.vocab_files_names)
    whole = names.pop("tokenizer_file", "tokenizer.json")
    own = [name for name in names.values() if name]
    if (folder / whole).is_file() or (own and all((folder / name).is_file() for name in own)):
        return
    raise ModelError(
        f"model {folder} has no tokenizer; it needs tokenizer.json"
        + (f" or {' and '.join(own)}" if own else "")
    )


def _check(folder: Path, backend: Any) -> None:
    if getattr(backend.model, "dropout", None):
        raise ModelError(
            f"model {folder}: its tokenizer drops merges at random (dropout of "
            f"{backend.model.dropout}); set it to null in tokenizer.json"
        )
    _check_growth(folder, growth_of(backend), growth_in_words(backend))
    if rule := slow_rule(backend):
        raise ModelError(
            f"model {folder}: the {rule} in its tokenizer; {WORD_CHARACTERS} are allowed, mend "
            "tokenizer.json"
        )
    if backend.get_vocab_size(with_added_tokens=False) <= len(_special_tokens(backend)):
        raise ModelError(
            f"model {folder}: its tokenizer knows no words, so that every text would be unknown; "
            "copy its vocabulary again"
        )
    if (folder / "config.json").is_file():
        rows = _object(folder / "config.json").get("vocab_size")
        ids = _id_count(backend)
        if isinstance(rows, int) and ids > rows:
            raise ModelError(
                f"model {folder}: its tokenizer has {ids} tokens, its table {rows}; use the "
                "tokenizer that it was trained with"
            )


def _check_growth(folder: Path, normalizer: int, words: int) -> None:
    for part, growth, most in (
        ("normalizer", normalizer, NORMALIZER_GROWTH),
        ("pre_tokenizer", words, WORDS_GROWTH),
    ):
        if growth > most:
            raise ModelError(
                f"model {folder}: the {part} of its tokenizer makes up to {shown(growth)} bytes of "
                f"one; {most:,} are allowed, mend tokenizer.json"
            )


def _try_as_written(folder: Path) -> None:
    """Before tokenizer.json is read here: its added tokens are normalized while it is read."""
    try:
        text = read_regular(folder / "tokenizer.json", TOKENIZER_BYTES).decode()
        values = from_json(text)
        fields = {field for token in values.get("added_tokens") or () for field in token}
    except Exception:  # another shape, or none: the parser tells of it
        return
    if strange := fields - _TOKEN_FIELDS - {"id"}:  # which transformers would print as they are
        raise ModelError(
            f"{folder / 'tokenizer.json'}: a token of added_tokens has {shown(min(strange))}, "
            "which is nothing that tokens have; mend the file"
        )
    try:
        parts = [growth_by(values.get(part) or {}) for part in ("normalizer", "pre_tokenizer")]
    except Exception:  # as above
        return
    _check_growth(folder, *parts)
    _try(folder, text)


def _try(folder: Path, tokenizer: str) -> None:
    if not folder.resolve().is_relative_to(_PACKAGE) and (problem := _tried(tokenizer)):
        raise ModelError(f"model {folder}: its tokenizer {problem}; mend tokenizer.json")


def _id_count(backend: Any) -> int:
    """Rows that a table needs for every id that the tokenizer may give."""
    return 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)


def _special_tokens(backend: Any) -> set[str]:
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    return {token for token in added if backend.model.token_to_id(token) is not None}


@lru_cache(maxsize=4)
def _tried(tokenizer: str) -> str | None:
    """What a process of its own says of the tokenizer: None, or what is wrong with it."""
    try:
        done = subprocess.run(
            [sys.executable, trial.__file__, str(trial.MEMORY_BYTES), str(trial.SECONDS)],
            input=tokenizer.encode(),
            capture_output=True,
            timeout=10 * trial.SECONDS,
        )
    except OSError:  # no second process on this machine: the rules were checked above
        return None
    except subprocess.TimeoutExpired:
        return f"takes minutes for {len(trial.TEXTS)} short texts"
    if done.returncode == 0:
        return None
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    why = shortened(last[0]) if last else f"signal {-done.returncode}"
    if "PanicException" in why:
        return f"cannot be read ({why})"
    return (
        f"needs more than {trial.MEMORY_BYTES >> 30} GiB or {trial.SECONDS} s for "
        f"{len(trial.TEXTS)} short texts ({why})"
    )
