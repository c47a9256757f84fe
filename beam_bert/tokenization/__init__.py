"""DocumentBatch -> TokenBatch: text becomes the token ids of the windows a model reads.

Documents longer than a window are cut to their start, or read whole in overlapping windows. All of
it is array work on flat ids: the tokenizer (the checkpoint's own, Hugging Face `tokenizers`) gives
ids without special tokens, and the windows with theirs are gathered in one go.
"""

from beam_bert.tokenization.documents import DocumentTokenizer
from beam_bert.tokenization.question_windows import QuestionWindows, windows_of
from beam_bert.tokenization.questions import QuestionTokenizer
from beam_bert.tokenization.tokenizer import Tokenizer
from beam_bert.tokenization.windows import Windows, WindowSettings, fit_pair, plan_windows

__all__ = [
    "DocumentTokenizer",
    "QuestionTokenizer",
    "QuestionWindows",
    "Tokenizer",
    "WindowSettings",
    "Windows",
    "fit_pair",
    "plan_windows",
    "windows_of",
]
