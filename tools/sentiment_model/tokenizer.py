"""The tokenizer of the embedded sentiment model: uncased WordPiece that can read emoji.

bert-base-uncased's vocabulary knows almost no emoji and its pre-tokenizer glues them to words, so
"love😀" becomes [UNK]. Here every emoji stands alone and the common ones are pieces of their own;
skin tones, variation selectors and joiners are dropped.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing

MAX_LENGTH = 512
SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Blocks that hold emoji; letters and ordinary punctuation are not among them.
EMOJI_BLOCKS = (
    (0x2190, 0x21FF),
    (0x2300, 0x23FF),
    (0x2460, 0x24FF),
    (0x25A0, 0x27BF),
    (0x2B00, 0x2BFF),
    (0x1F000, 0x1FAFF),
)
_DROPPED = "[\\x{1F3FB}-\\x{1F3FF}\\x{FE0E}\\x{FE0F}\\x{200D}\\x{20E3}]"
_EMOJI = "[" + "".join(f"\\x{{{low:X}}}-\\x{{{high:X}}}" for low, high in EMOJI_BLOCKS) + "]"

# Letters of these scripts are kept, so that a word written in them is never [UNK].
_KEPT_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "MODIFIER LETTER", "DOUBLE-STRUCK")
# Emoji of these blocks (faces and hands) are kept even where no training text has them.
_FACE_BLOCKS = ((0x1F600, 0x1F64F), (0x1F910, 0x1F92F), (0x1F970, 0x1F97A))

# Symbols that carry no feeling, and parts that never stand alone (flags' letters, skin tones).
_PLAIN_NAMES = ("CLOCK FACE", "SQUARED", "REGIONAL", "EMOJI MODIFIER", "EMOJI COMPONENT", "MAHJONG")


def is_emoji(character: str) -> bool:
    """Whether the character stands in a block of emoji and symbols."""
    code = ord(character)
    return any(low <= code <= high for low, high in EMOJI_BLOCKS)


def build_tokenizer(pieces: Sequence[str]) -> Tokenizer:
    """Make the tokenizer of a vocabulary; a piece's id is its place."""
    ids = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_DROPPED), ""),
            normalizers.BertNormalizer(lowercase=True),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Split(Regex(_EMOJI), behavior="isolated"),
        ]
    )
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    tokenizer.add_special_tokens(list(SPECIAL_PIECES))
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and the config that makes transformers load it as it is."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        # Not BertTokenizer: transformers 5 would build that anew from the vocabulary alone, and
        # so lose the splitting of emoji.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_LENGTH,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "do_lower_case": True,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def emoji_of(texts: Iterable[str]) -> list[str]:
    """The distinct emoji of some texts, in order of code point; combining parts are left out."""
    found = {character for text in texts for character in text if is_emoji(character)}
    names = {character: unicodedata.name(character, "") for character in found}
    return sorted(e for e, name in names.items() if name and not name.startswith(_PLAIN_NAMES))


def teacher_pieces(vocabulary: Sequence[str], emoji: Sequence[str]) -> list[str]:
    """The encoder's vocabulary without its [unused] places, then the emoji."""
    kept = [piece for piece in vocabulary if not piece.startswith("[unused")]
    return kept + [character for character in emoji if character not in set(kept)]


def student_pieces(pieces: Sequence[str], texts: Iterable[str], size: int) -> list[str]:
    """Keep `size` of the teacher's pieces, in their order.

    Kept are the special pieces, every single character (but letters of scripts that English text
    does not quote, and emoji that nobody uses); then the pieces used in `texts`, by use; then the
    vocabulary's own order, which is by use on Wikipedia and books.
    """
    counts = Counter[str]()
    for encoding in build_tokenizer(pieces).encode_batch_fast(list(texts)):
        counts.update(pieces[place] for place in encoding.ids)
    candidates = [piece for piece in pieces if not _is_foreign(piece)]
    kept = {piece for piece in candidates if piece in SPECIAL_PIECES or _is_needed(piece)}
    places = {piece: place for place, piece in enumerate(candidates)}
    for piece in sorted(candidates, key=lambda piece: (-counts[piece], places[piece])):
        if len(kept) >= size:
            break
        kept.add(piece)
    return [piece for piece in pieces if piece in kept]


def emoji_name_pieces(character: str, tokenizer: Tokenizer) -> list[int]:
    """The ids of the words of a character's Unicode name: what its embedding starts from."""
    name = unicodedata.name(character, "symbol").lower()
    return tokenizer.encode(name, add_special_tokens=False).ids


def _is_needed(piece: str) -> bool:
    character = piece.removeprefix("##")
    if len(character) != 1:
        return False
    faces = any(low <= ord(character) <= high for low, high in _FACE_BLOCKS)
    return faces or not is_emoji(character)


def _is_foreign(piece: str) -> bool:
    letters = (character for character in piece.removeprefix("##") if character.isalpha())
    return any(not unicodedata.name(letter, "").startswith(_KEPT_SCRIPTS) for letter in letters)
