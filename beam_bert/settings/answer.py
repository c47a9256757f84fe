"""The settings of `pipelines.answer`; defaults stand nowhere else."""

from __future__ import annotations

import re
import unicodedata
from functools import partial
from typing import Any, Literal

from pydantic import field_validator, model_validator

from beam_bert.errors import shown
from beam_bert.settings.fields import setting
from beam_bert.settings.inference import (
    MOST_SLICE_BYTES,
    ClassifyConfig,
    JobConfig,
    SentimentConfig,
)
from beam_bert.settings.naming import named

# A window and the overlap that published models were fine-tuned with (run_squad.py's defaults).
DEFAULT_MAX_LENGTH = 384
DEFAULT_STRIDE = 128

# What Python makes of bytes of the command line that are not UTF-8; no tokenizer takes it.
_SURROGATE = re.compile("[\ud800-\udfff]")
# One word and "=" in front of a question: its name, or a part of it. After a name that is none at
# first sight (E=mc2), a blank says that it is one.
_NAMED = re.compile(r"\s*([^\s=]*)\s*=(\s*)(.*)", re.DOTALL)


_question = partial(setting, "Questions")
_model = partial(setting, "Model")
_results = partial(setting, "Results")


class AnswerConfig(JobConfig):
    """Ask every document: raw text in, answers and where they stand out, as Parquet."""

    # Every question reads all of the text, in windows that overlap: a quarter of the other jobs'.
    CPU_SLICE_BYTES = 2**20
    GPU_SLICE_BYTES = 16 * 2**20

    # Fixed here, so no flags: what comes second is the text itself, and it is read whole.
    text_pair_column: None = None
    long_documents: Literal["window"] = "window"

    question: tuple[str, ...] = _question(
        "Asked of every document; several may be given, each as TEXT or name=TEXT (=TEXT where a "
        "question itself begins so). In YAML a list or a mapping of names to questions.",
        default=(),
    )
    question_column: str | None = _question(
        "Column with the question, where each row has its own.", default=None
    )
    model: str = setting(
        "Model", "Folder, gs:// prefix, store@alias or Hugging Face id of a *ForQuestionAnswering."
    )
    max_length: int | None = _model(
        "Tokens of a window, the question and special ones included; default: the model's limit, "
        f"{DEFAULT_MAX_LENGTH} at most.",
        default=None,
        ge=8,
    )
    stride: int = _model("Tokens that neighbouring windows share.", default=DEFAULT_STRIDE, ge=0)
    slice_bytes: int | None = setting(
        "Work",
        "Input bytes of one unit of work and shard; default: 1 MiB on CPU, 16 MiB on a GPU.",
        default=None,
        ge=1,
        le=MOST_SLICE_BYTES // 4,
    )
    answers: Literal["long", "wide"] = _results(
        "long: a row an answer; wide: a row a document, a column a named question.", default="long"
    )
    top_k: int = _results("Answers to keep of each question.", default=1, ge=1, le=1_000)
    null_threshold: float | None = _results(
        "A question has no answer where null_score - score is above this (SQuAD 2.0); 1e9: it "
        "always has one; default: the model's own, else 0.",
        default=None,
        allow_inf_nan=False,
    )
    max_answer_tokens: int = _results("Longest answer.", default=30, ge=1, le=512)

    @field_validator("question", mode="before")
    @classmethod
    def _from_mapping(cls, value: Any) -> Any:
        """YAML may map names to questions."""
        if not isinstance(value, dict):
            return value
        for name, text in value.items():
            if not isinstance(name, str):
                raise ValueError(f"a name is {shown(name)} to YAML; quote it")
            if not isinstance(text, str):
                raise ValueError(f"the question {shown(name)} is {shown(text)} to YAML; quote it")
            _check_name(name)
        return tuple(f"{name}= {text}" for name, text in value.items())

    @model_validator(mode="after")
    def _check_questions(self) -> AnswerConfig:
        given, wide = named("question"), named("answers", "wide")
        if bool(self.question) == (self.question_column is not None):
            fault = "one of them, not both" if self.question else "one of them is missing"
            raise ValueError(f"give {named('question')} or {named('question_column')}: {fault}")
        if any(_SURROGATE.search(text) for text in self.question):
            raise ValueError(f"{given}: a question holds bytes that are no text (UTF-8)")
        try:
            self._parted()
        except ValueError as error:
            raise ValueError(f"{given}: {error}") from None
        if any(not text.strip() for text in self.questions or ()):
            raise ValueError(f"{given}: a question is empty")
        unnamed = [text for name, text in self._parted() if name is None]
        again = [text for number, text in enumerate(unnamed) if text in unnamed[:number]]
        if again:
            raise ValueError(
                f"{given} {shown(again[0])} is asked twice; leave one out, or name them: name=TEXT"
            )
        if self.question_column in self.text_column:
            raise ValueError(
                f"column {shown(self.question_column)} cannot be both text and question"
            )
        names = [name.casefold() for name in self.names or () if name is not None]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{given}: two questions are named {shown(twice[0])}")
        if self.answers == "wide" and len(names) < max(len(self.question), 1):
            raise ValueError(f"{wide} needs named questions: {named('question', 'name=TEXT')}")
        if self.answers == "wide" and self.top_k > 1:
            needed = named("top_k", 1)
            raise ValueError(f"{wide} shows one answer a question: it needs {needed}")
        return self

    @property
    def pair_column(self) -> str | None:
        """The source's second text: the question, where each row has its own."""
        return self.question_column

    @property
    def questions(self) -> tuple[str, ...] | None:
        """Texts of the questions asked of every document; None where rows have their own."""
        return tuple(text for _, text in self._parted()) or None

    @property
    def names(self) -> tuple[str | None, ...] | None:
        """Their names, None for one without."""
        return tuple(name for name, _ in self._parted()) or None

    def _parted(self) -> list[tuple[str | None, str]]:
        return [parted(item) for item in self.question]


# The inference jobs by name.
JOBS: dict[str, type[JobConfig]] = {
    "classify": ClassifyConfig,
    "sentiment": SentimentConfig,
    "answer": AnswerConfig,
}


def parted(question: str) -> tuple[str | None, str]:
    """A question's name, where it is given one, and its text.

    `name=TEXT` names it, and `=TEXT` says that it has no name.

    Raises:
      ValueError: it cannot be told whether a name is meant.
    """
    named = _NAMED.match(question)
    if named is None:
        return None, question.strip()
    name, blank, text = named.groups()
    if not name:
        return None, text.strip()
    first_word = (text.split() or [""])[0]
    if not blank and ((len(name) == 1 and name.isupper()) or re.search(r"\d", first_word)):
        raise ValueError(
            f"{question[:80]!r}: if {name} is its name, put a blank after the =; if it "
            "is a part of the question, put another = in front of it all"
        )
    return _check_name(name), text.strip()


def _check_name(name: str) -> str:
    """The name as everything compares it: NFC, as a column's.

    Raises:
      ValueError: it is none.
    """
    normal = unicodedata.normalize("NFC", name)
    if not normal.isidentifier():
        raise ValueError(
            f"{shown(name)} is no name (letters, digits and _, no digit first); if it is a "
            "part of the question, put = in front of it all"
        )
    return normal
