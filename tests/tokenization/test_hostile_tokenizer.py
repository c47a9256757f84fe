"""A tokenizer comes with its model, and is a small program: what it may do is bounded."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from beam_bert.errors import ConfigError, ModelError
from beam_bert.models.digest import folder_checksums
from beam_bert.slices.batch import SliceBatch
from beam_bert.tokenization import DocumentTokenizer, QuestionTokenizer, WindowSettings
from beam_bert.tokenization.growth import grows_too_far, growth_of
from beam_bert.tokenization.loading import load_tokenizer
from tests.conftest import bert_vocabulary
from tests.tokenization.test_documents import documents as make_batch

WINDOWS = WindowSettings(max_length=32)


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """A copy of a good model whose tokenizer.json is taken as it stands."""
    copy = Path(shutil.copytree(bert, tmp_path / "model"))
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    return copy


def _change(
    folder: Path, change: Callable[[dict[str, Any]], object], name: str = "tokenizer.json"
) -> None:
    values = json.loads((folder / name).read_text())
    change(values)
    (folder / name).write_text(json.dumps(values))


def _set(*way: Any) -> Callable[[dict[str, Any]], None]:
    *names, last, value = way

    def change(values: Any) -> None:
        for name in names:
            values = values[name]
        values[last] = value

    return change


def _tokens(folder: Path, texts: list[str], pairs: list[str] | None = None) -> SliceBatch:
    tokenizer = DocumentTokenizer(folder, WINDOWS, pair=pairs is not None)
    return tokenizer.tokenize(make_batch(texts, pairs))


def _refused(folder: Path, pattern: str) -> None:
    with pytest.raises(ModelError, match=pattern) as caught:
        DocumentTokenizer(folder, WINDOWS, pair=True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000


def _replace(old: str, new: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: old}, "content": new}


def _sequence(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(rules)}


def _charsmap(replacement: bytes) -> str:
    import base64

    return base64.b64encode((0).to_bytes(4, "little") + replacement + b"\0").decode()


@pytest.mark.parametrize(
    "normalizer",
    [
        _sequence(*[_replace("a", "aa")] * 40),
        _sequence(*[_sequence(*[_replace("ẞ", "ẞẞ")] * 10)] * 10),
        _sequence(*[_replace("", "x", "Regex")] * 20),
        _sequence(*[_replace("(?=.)", "xx", "Regex")] * 20),
        _sequence(*[{"type": "Prepend", "prepend": "x" * 100}] * 3),
        _replace("a", "a" * 10_000),
        {"type": "Precompiled", "precompiled_charsmap": _charsmap(b"x" * 10_000)},
        _sequence(*[{"type": "ByteLevel"}] * 40),
        _sequence(
            *[
                {
                    "type": "BertNormalizer",
                    "clean_text": True,
                    "lowercase": True,
                    "handle_chinese_chars": True,
                    "strip_accents": None,
                }
            ]
            * 50
        ),
    ],
)
def test_a_normalizer_that_could_fill_the_memory_is_refused_before_it_is_run(
    folder: Path, normalizer: dict[str, Any]
) -> None:
    _change(folder, _set("normalizer", normalizer))
    _refused(
        folder, "its tokenizer (makes up to|cannot be loaded)|normalizer of its tokenizer makes"
    )


def test_a_normalizer_that_would_fill_the_memory_with_an_added_token_is_refused_before_it_is_read(
    folder: Path,
) -> None:
    token = {"id": 7, "content": "a", "special": False, "normalized": True}
    token |= dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    _change(folder, lambda values: values["added_tokens"].append(token))
    _change(folder, _set("normalizer", _sequence(*[_replace("a", "aa")] * 40)))
    _refused(folder, "normalizer of its tokenizer makes up to 1099511627776 bytes")


def _cut(*kinds: str, **settings: Any) -> dict[str, Any]:
    rules = [{"type": kind, **settings} for kind in kinds]
    return {"type": "Sequence", "pretokenizers": rules}


BYTES = {"add_prefix_space": True, "trim_offsets": True, "use_regex": False}


@pytest.mark.parametrize(
    "way, value, told",
    [
        (
            ["pre_tokenizer"],
            _cut(*["ByteLevel"] * 12, **BYTES),
            "pre_tokenizer .* up to 16777216",
        ),
        (
            ["pre_tokenizer"],
            _cut(*["Metaspace"] * 5, replacement="😀", prepend_scheme="always", split=True),
            "pre_tokenizer .* up to 3125 bytes of one",
        ),
        (["model", "max_input_chars_per_word"], 300, "max_input_chars_per_word has 300 char"),
        (["model", "continuing_subword_prefix"], "#" * 10**6, "continuing_subword_prefix has 1,0"),
        (
            ["model"],
            {
                "type": "BPE",
                "vocab": {"a": 0, "b": 1},
                "merges": [],
                "end_of_word_suffix": "/" * 999,
            },
            "end_of_word_suffix has 999 characters",
        ),
        (
            ["model"],
            {"type": "Unigram", "unk_id": 0, "vocab": [["?", 0], ["a" * 99_999, -1], ["b", -2]]},
            "longest piece has 99,999 characters",
        ),
    ],
)
def test_rules_that_would_take_all_memory_or_hours_for_a_long_text_are_refused(
    folder: Path, way: list[str], value: Any, told: str
) -> None:
    _change(folder, _set(*way, value))
    if value and isinstance(value, dict) and "model" in way:
        _change(folder, _set("added_tokens", []))
        _change(folder, _set("post_processor", None))
    _refused(folder, told)


def test_a_text_that_grows_too_far_is_a_reject_alone_and_takes_no_memory(folder: Path) -> None:
    _change(folder, _set("normalizer", _replace("a", "a" * 400)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batch = _tokens(folder, ["good", "a" * 400_000, "movie " * 40_000, "bank"])
    assert batch.rows["text"].to_pylist() == ["good", "movie " * 40_000, "bank"]
    assert batch.rejects["reason"].to_pylist() == ["tokenizer_failed"]
    assert "makes far too much of this text" in batch.rejects["message"][0].as_py()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1.5 * 2**20


def test_growth_of_ordinary_normalizers_is_small() -> None:
    def tokenizer(normalizer: Any) -> Tokenizer:
        found = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
        found.normalizer = normalizer
        return found

    bert = tokenizer(normalizers.BertNormalizer())
    assert growth_of(bert) == 2
    assert growth_of(tokenizer(normalizers.Replace(Regex(" {2,}"), " "))) == 2
    assert growth_of(tokenizer(normalizers.Replace("``", '"'))) == 1
    assert not grows_too_far(bert, "naïve 你好 " * 100_000, 2)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){12}$"])
def test_a_pattern_that_panics_rejects_that_row_alone(folder: Path, pattern: str) -> None:
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    ours = {"type": "BertPreTokenizer"}
    _change(folder, _set("pre_tokenizer", {"type": "Sequence", "pretokenizers": [split, ours]}))
    batch = _tokens(folder, ["good", "a" * 60 + "!", "bad movie"])
    assert batch.rows["text"].to_pylist() == ["good", "bad movie"]
    assert batch.rejects["reason"].to_pylist() == ["tokenizer_failed"]
    assert "the tokenizer fails at this text" in batch.rejects["message"][0].as_py()
    alone = _tokens(folder, ["good", "bad movie"])
    assert batch.rows["input_ids"] == alone.rows["input_ids"]
    pairs = _tokens(folder, ["good", "love", "bad"], ["great", "a" * 60 + "!", "awful"])
    assert pairs.rows["text"].to_pylist() == ["good", "bad"]
    expected = _tokens(folder, ["good", "bad"], ["great", "awful"])
    assert pairs.rows["input_ids"] == expected.rows["input_ids"]


def test_a_word_that_a_vocabulary_without_unknown_has_not_rejects_that_row_alone(
    folder: Path,
) -> None:
    def change(values: dict[str, Any]) -> None:
        values["model"] = {
            "type": "WordLevel",
            "vocab": values["model"]["vocab"],
            "unk_token": "?!",
        }

    _change(folder, change)
    batch = _tokens(folder, ["good", "zyzzyva", "bad"])
    assert batch.rows["text"].to_pylist() == ["good", "bad"]
    assert "WordLevel error" in batch.rejects["message"][0].as_py()


@pytest.mark.parametrize("number", [10_000, 2**31, 2**32 - 1])
def test_an_id_beyond_the_table_is_told_at_launch(folder: Path, number: int) -> None:
    _change(folder, _set("model", "vocab", "movie", number))
    _refused(folder, rf"its tokenizer has {number + 1} tokens, its table \d+; use the tokenizer")


def test_an_added_token_beyond_the_table_is_told_at_launch(folder: Path) -> None:
    values = json.loads((folder / "tokenizer_config.json").read_text())
    values["additional_special_tokens"] = [f"[new {i}]" for i in range(5)]
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    _refused(folder, "its tokenizer has .* tokens, its table")


def _template(single: list[Any], **special: Any) -> dict[str, Any]:
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": single,
        "special_tokens": special,
    }


def _special(name: str) -> dict[str, Any]:
    return {"SpecialToken": {"id": name, "type_id": 0}}


TEXT = {"Sequence": {"id": "A", "type_id": 0}}


@pytest.mark.parametrize(
    "processor",
    [
        _template(
            [_special("[CLS]")], **{"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}
        ),
        _template([TEXT, _special("x"), TEXT], x={"id": "x", "ids": [2], "tokens": ["[CLS]"]}),
        _template([_special("x"), TEXT], x={"id": "x", "ids": [4_000_000], "tokens": ["[CLS]"]}),
        _template([_special("x"), TEXT], x={"id": "x", "ids": [2**31], "tokens": ["[CLS]"]}),
        _template([]),
        {"type": "BertProcessing", "sep": ["[SEP]", 2**32 - 1], "cls": ["[CLS]", 10**9]},
        {"type": "BertProcessing", "sep": ["[SEP]", -1], "cls": ["[CLS]", 2]},
        {"type": "Nonsense"},
        [],
    ],
)
def test_an_odd_post_processor_is_one_line(folder: Path, processor: Any) -> None:
    _change(folder, _set("post_processor", processor))
    _refused(folder, "post_processor|its tokenizer cannot be loaded")


@pytest.mark.parametrize(
    "model",
    [
        {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]},
        {
            "type": "BPE",
            "vocab": {"a": 0, "ab": 1},
            "merges": ["a ab"],
            "continuing_subword_prefix": "abc",
        },
        {"type": "Unigram", "unk_id": 9, "vocab": [["?", 0.0], ["a", -1.0], ["b", -2.0]]},
        {"type": "Unigram", "unk_id": 0, "vocab": [["?", 0.0], ["a" * 10**6, -1.0]]},
        {"type": "Unigram", "unk_id": 0, "vocab": []},
        {"type": "WordLevel", "vocab": {"a": -1, "b": 2}, "unk_token": "a"},
        {"vocab": {"a": 0}, "merges": []},
        None,
    ],
)
@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "BertTokenizer"])
def test_a_model_of_words_that_breaks_its_parser_is_one_line(
    folder: Path, kind: str, model: Any
) -> None:
    _change(folder, _set("model", model))
    _change(folder, _set("tokenizer_class", kind), "tokenizer_config.json")
    try:
        _refused(folder, "tokenizer")
    except pytest.fail.Exception:  # transformers takes the words of another kind of model
        assert kind == "BertTokenizer" and model["vocab"] == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", "[" * 10_000, '{"model": {"type": "WordPiece"}}', "\0"]
)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_damaged_files_are_one_line(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    try:
        DocumentTokenizer(folder, WINDOWS)
    except ModelError as error:
        assert "\n" not in str(error) and len(str(error)) < 1_000
    else:
        assert name != "tokenizer.json" and text.startswith("{")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "vocab.txt"])
@pytest.mark.parametrize(
    "data, told",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS .*git lfs pull"),
        (b"<html><head></head></html>", "an HTML page"),
    ],
)
def test_what_stands_in_a_files_place_is_told(
    folder: Path, name: str, data: bytes, told: str
) -> None:
    (folder / name).write_bytes(data)
    (folder / "tokenizer.json").unlink() if name == "vocab.txt" else None
    _refused(folder, f"{name} is {told}" if data[0] == 60 else f"{name} is a {told}")


def test_random_merges_would_give_another_answer_each_time(folder: Path) -> None:
    _change(
        folder,
        _set(
            "model",
            {"type": "BPE", "dropout": 0.5, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
        ),
    )
    _refused(folder, "drops merges at random")


def test_a_tokenizer_from_outside_is_not_loaded(bert: Path, folder: Path, tmp_path: Path) -> None:
    """Its version does not cover that file: exchanged, it would answer otherwise unseen."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    _change(
        other,
        _set("normalizer", {"type": "Replace", "pattern": {"String": "good"}, "content": "bad"}),
    )
    shutil.copy(other / "tokenizer.json", folder / ".hidden.json")
    (folder / "below").mkdir()
    shutil.copy(other / "tokenizer.json", folder / "below/tokenizer.json")
    before = _tokens(bert, ["good"]).rows["input_ids"]
    given = json.loads((folder / "tokenizer_config.json").read_text())
    outside = str(other / "tokenizer.json")
    for name in (outside, "../other/tokenizer.json", ".hidden.json", "below/tokenizer.json"):
        values = {**given, "fast_tokenizer_files": [name]}
        (folder / "tokenizer_config.json").write_text(json.dumps(values))
        _refused(folder, "fast_tokenizer_files names")
    for key in ("tokenizer_file", "vocab_file", "vocab", "spm_file", "name_or_path", "init_inputs"):
        values = {**given, key: [outside] if key == "init_inputs" else outside}
        (folder / "tokenizer_config.json").write_text(json.dumps(values))
        assert _tokens(folder, ["good"]).rows["input_ids"] == before


@pytest.mark.parametrize("key", ["vocab_file", "vocab", "tokenizer_file"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_vocabulary_from_outside_is_not_loaded(
    bert: Path, tmp_path: Path, key: str, whole: bool
) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "model"))
    shutil.copy(folder / "tokenizer.json", tmp_path / "other.json")
    words = bert_vocabulary()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    swapped = [{"good": "bad", "bad": "good"}.get(word, word) for word in words]
    (tmp_path / "other.txt").write_text("\n".join(swapped) + "\n")
    _change(
        tmp_path, _set("model", "vocab", {word: i for i, word in enumerate(swapped)}), "other.json"
    )
    if not whole:
        (folder / "tokenizer.json").unlink()
    before = _tokens(folder, ["good"]).rows["input_ids"]
    values = json.loads((folder / "tokenizer_config.json").read_text())
    outside = str(tmp_path / ("other.json" if key == "tokenizer_file" else "other.txt"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**values, key: outside}))
    assert _tokens(folder, ["good"]).rows["input_ids"] == before


def test_what_stands_beside_a_token_is_not_printed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    values = json.loads((folder / "tokenizer_config.json").read_text())
    values["unk_token"] = {"content": "[UNK]", "\x1b[2J": 1, "__type": "AddedToken"}
    for token in values.get("added_tokens_decoder", {}).values():
        token["\x1b[31m"] = 1
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    _tokens(folder, ["good"])
    assert "\x1b" not in "".join(capfd.readouterr())


def test_what_stands_in_an_added_token_is_not_printed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _change(folder, lambda values: values["added_tokens"][0].update({"\x1b[2J": 1}))
    for kind in ("BertTokenizer", "PreTrainedTokenizerFast"):
        _change(folder, _set("tokenizer_class", kind), "tokenizer_config.json")
        for normalizer in (None, "odd"):
            _change(folder, _set("normalizer", normalizer))
            _refused(folder, r"added_tokens has '\\x1b\[2J', which is nothing that tokens have")
    assert "\x1b" not in "".join(capfd.readouterr())


def test_what_a_tokenizer_reads_is_in_the_digest(folder: Path, monkeypatch: Any) -> None:
    import transformers

    seen: set[str] = set()
    real = transformers.AutoTokenizer.from_pretrained

    def look(place: str, **options: Any) -> Any:
        seen.update(path.name for path in Path(place).iterdir())
        return real(place, **options)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", look)
    (folder / "chat_template.jinja").write_text("{{ 1 }}")
    (folder / "evil.py").write_text("raise SystemExit")
    load_tokenizer(folder)
    assert seen and seen <= folder_checksums(folder).keys()


@pytest.mark.parametrize("kind", ["roberta", "bert"])
def test_without_its_familys_own_files_a_folder_has_no_tokenizer(folder: Path, kind: str) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").unlink(missing_ok=True)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "model_type": kind}))
    (folder / ("vocab.txt" if kind == "roberta" else "vocab.json")).write_text("{}")
    _refused(folder, "has no tokenizer; it needs tokenizer.json")
    (folder / "vocab.json").write_text("{}")
    (folder / "vocab.txt").write_text("")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    _refused(folder, "knows no words")


@pytest.mark.parametrize("vocabulary", [{}, {"[UNK]": 0}, {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2}])
def test_a_vocabulary_without_words_is_refused(folder: Path, vocabulary: dict[str, int]) -> None:
    _change(folder, _set("model", "vocab", vocabulary))
    _refused(folder, "knows no words|cannot be loaded|more than|its table")


def test_texts_that_are_mostly_unknown_are_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="beam_bert"):
        for _ in range(2):  # at launch, and in a step
            tokenizer = DocumentTokenizer(folder, WINDOWS)
            tokenizer.tokenize(make_batch(["你好 世界", "good"]))
            tokenizer.tokenize(make_batch(["你好 世界"]))
    (said,) = caplog.messages
    assert said.startswith(f"{folder}: most tokens of the first texts are unknown to the model")
    caplog.clear()
    DocumentTokenizer(folder, WINDOWS).tokenize(make_batch(["good 你", "bad movie"]))
    assert not caplog.messages


def test_a_tokenizer_that_takes_all_memory_is_found_by_a_process_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("growth_of", "growth_by"):
        monkeypatch.setattr(f"beam_bert.tokenization.loading.{name}", lambda rules: 1)
    monkeypatch.setattr("beam_bert.tokenization.trial.SECONDS", 1)
    _change(folder, _set("normalizer", _sequence(*[_replace("a", "aa")] * 40)))
    _refused(folder, "needs more than 2 GiB or 1 s for 8 short texts")


@pytest.mark.parametrize(
    "part, pattern",
    [
        ("pre_tokenizer", r"(?=(é+))\1*b"),
        ("normalizer", "x{100000}"),
        ("pre_tokenizer", "(?i)" + "a" * 100_000),
    ],
)
def test_a_pattern_that_takes_time_by_the_square_of_a_text_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, part: str, pattern: str
) -> None:
    monkeypatch.setattr("beam_bert.tokenization.trial.SECONDS", 1)
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    rule = _replace(pattern, "y", "Regex") if part == "normalizer" else split
    _change(folder, _set(part, {**rule, "pattern": {"Regex": pattern}}))
    _refused(folder, "needs more than 2 GiB or 1 s for 8 short texts")


def test_the_trial_needs_nothing_of_this_package() -> None:
    from beam_bert.tokenization import trial

    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", trial.__file__, str(2**31), "10"],
        input=tokenizer.to_str(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "beam_bert" not in done.stderr and "numpy" not in done.stderr


def _questions(folder: Path, asked: list[str] | None, texts: list[str]) -> SliceBatch:
    tokenizer = QuestionTokenizer(folder, WINDOWS, asked)
    return tokenizer.tokenize(make_batch(texts, None if asked else ["who", "a" * 60 + "!", "when"]))


def test_answer_names_the_tokenizer_where_it_fails_at_a_text_or_a_question(folder: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
    rules = [{**split, "invert": False}, {"type": "BertPreTokenizer"}]
    _change(folder, _set("pre_tokenizer", {"type": "Sequence", "pretokenizers": rules}))
    for batch in (
        _questions(folder, ["who"], ["good", "a" * 60 + "!", "bad"]),
        _questions(folder, None, ["good", "love", "bad"]),
    ):
        assert len(batch) == 2 and batch.rejects["source_row"].to_pylist() == [1]
        assert batch.rejects["reason"].to_pylist() == ["tokenizer_failed"]
        assert "the tokenizer fails at this text" in batch.rejects["message"][0].as_py()
    with pytest.raises(ConfigError, match=r"--question 'aaa.*: the tokenizer fails at this text"):
        QuestionTokenizer(folder, WINDOWS, ["who", "a" * 60 + "!"])


def test_answer_says_that_texts_are_mostly_unknown(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="beam_bert"):
        _questions(folder, ["who"], ["你好 世界"])
    assert "most tokens of the first texts are unknown" in caplog.text
