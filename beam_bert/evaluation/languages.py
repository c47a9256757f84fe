"""A cheap guess of a text's language, to see how a data set is balanced; not a language detector.

The script decides where only one language (or family) uses it; Latin text goes by its stop words:
the language with the most of them wins, if they are two or more and no other has as many.
"""

from __future__ import annotations

import re

UNKNOWN = "unknown"
HOW = "guessed from stop words and script; short texts stay unknown"
_READ = 2_000  # characters of a text that are looked at

# The commonest words of each language that few others share.
_STOP_WORDS = {
    "en": "the and of to is was that for with this are not have it you what my be on i a do how",
    "de": "der die das und ist nicht ich ein eine zu mit auf für den sie es wir auch dem sich",
    "fr": "le la les et est une des pas que pour dans je il vous nous sur avec ce qui au du",
    "es": "el la los y es una que de en por con para no se las lo un mi muy como del",
    "it": "il di che è e la un una per non con sono si mi della gli le ho questo anche",
    "pt": "o a os e é uma que de não em por com para se um do da na no eu muito",
    "nl": "de het een en van ik is dat niet op te zijn met voor er maar ook heb deze",
    "sv": "och att det som en är jag inte på för med den av har till om ett var",
    "pl": "nie i w na się jest z do to że jak co ale tak po jestem mnie dla",
    "tr": "ve bir bu da de için ne çok ile mi ben gibi daha ama var değil",
}
_WORDS = {language: frozenset(words.split()) for language, words in _STOP_WORDS.items()}
_SCRIPTS = [
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("cyrillic", re.compile(r"[\u0400-\u04ff]")),
    ("arabic", re.compile(r"[\u0600-\u06ff]")),
    ("hebrew", re.compile(r"[\u0590-\u05ff]")),
    ("greek", re.compile(r"[\u0370-\u03ff]")),
    ("devanagari", re.compile(r"[\u0900-\u097f]")),
    ("thai", re.compile(r"[\u0e00-\u0e7f]")),
]
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_WORD = re.compile(r"[^\W\d_]+")


def guess_language(text: str) -> str:
    """A code such as "en", the name of a script such as "arabic", or "unknown"."""
    text = text[:_READ]
    latin = len(_LATIN.findall(text))
    for name, script in _SCRIPTS:
        # Ideographs stand for words: a third of the letters is most of a mixed text.
        if (found := len(script.findall(text))) and 3 * found >= latin:
            return name
    words = _WORD.findall(text.lower())
    hits = {language: sum(word in known for word in words) for language, known in _WORDS.items()}
    best = max(hits.values())
    leaders = [language for language, count in hits.items() if count == best]
    return leaders[0] if best >= 2 and len(leaders) == 1 else UNKNOWN
