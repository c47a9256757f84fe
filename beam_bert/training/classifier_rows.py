"""The rows of a classifier's training: labels, rows held out, leaks, and their tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from beam_bert.encoder.config import EncoderConfig
from beam_bert.errors import InputError
from beam_bert.labelled.cells import LabelColumn
from beam_bert.labelled.labels import Meaning, label_settings, labels_without_rows, shown_names
from beam_bert.labelled.learning import learn_labels
from beam_bert.labelled.parsing import LabelSettings
from beam_bert.labelled.rows import LabelsWanted, Rows, read_rows, tokenize_rows
from beam_bert.labelled.splitting import contradicting_rows, leaking_rows, split_holdout
from beam_bert.settings.inference import window_length
from beam_bert.settings.naming import named
from beam_bert.settings.training import FinetuneConfig
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.sources import SourceSpec
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION
from beam_bert.terminal import tell
from beam_bert.tokenization import DocumentTokenizer, WindowSettings
from beam_bert.training.reading import TokensReader, report_leaks, tell_of, tokenized_parts


@dataclass(frozen=True, eq=False)
class Labelled:
    """Training and dev rows with their targets, and what happened on the way there.

    Attributes:
      labels: names, in the order of the logits.
      held_out: whether dev was taken from train.
      leaked: training rows left out because dev has them; unlabelled ones likewise.
      rejected: rows that could not be used and were left out.
    """

    train: Rows
    dev: Rows
    unlabelled: Rows | None
    labels: tuple[str, ...]
    problem_type: str
    held_out: bool
    leaked: int
    unlabelled_leaked: int
    rejected: int

    @property
    def train_targets(self) -> np.ndarray:
        """Of the training rows; float32, or int64 classes."""
        return _for_torch(self.train)

    @property
    def dev_targets(self) -> np.ndarray:
        """Of the dev rows, likewise."""
        return _for_torch(self.dev)

    @property
    def texts(self) -> Rows:
        """Rows that the network learns from: those with labels, then those without."""
        if self.unlabelled is None:
            return self.train
        more = self.unlabelled
        pairs = None if self.train.pairs is None else [*self.train.pairs, *(more.pairs or [])]
        return replace(
            self.train,
            texts=[*self.train.texts, *more.texts],
            pairs=pairs,
            targets=None,
            places=[*self.train.places, *more.places],
        )


def read_labelled(config: FinetuneConfig) -> Labelled:
    """Read and check all rows: labels, hold-out, leaks.

    Raises:
      InputError: see `beam_bert.labelled.rows.read_rows` and `beam_bert.labelled.labels`; or
        training rows leak into dev and `leaks` is "refuse".
    """
    settings = label_settings(config)
    rows = _rows(config, "train", settings, lambda c: learn_labels(c, settings).read(c))
    assert rows.targets is not None and rows.meaning is not None
    vocabulary, keys = rows.meaning.vocabulary, rows.content_keys()
    names, problem_type = vocabulary.names, vocabulary.problem_type
    # Two values for one text are nothing odd: they say how far people agree.
    if problem_type != REGRESSION and len(odd := contradicting_rows(keys, rows.targets)):
        tell(
            f"warning: {len(odd):,} training rows have a text that stands elsewhere with another "
            f"label, the first at {rows.places[odd[0]]}; nobody can learn both"
        )
    read, leaked = [rows], 0
    if config.dev:
        dev = _rows(config, "dev", settings, lambda c: vocabulary.read(c, "dev"))
        read.append(dev)
        _check_differ(dev.targets, names, problem_type)
        leaks = leaking_rows(keys, dev.content_keys())
        leaked = len(leaks)
        places = [rows.places[n] for n in leaks]
        report_leaks(places, len(rows), "training rows", config.train_dev_overlap)
        train = rows.without(leaks)
        if leaked and problem_type != REGRESSION:
            _check_all_taught(train.targets, names)
    else:
        kept, held = split_holdout(keys, rows.targets, config.holdout, config.seed)
        train, dev = rows.take(kept), rows.take(held)
    _check_any(train, dev)
    unlabelled, unlabelled_leaked = None, 0
    if config.unlabelled:
        read.append(_rows(config, "unlabelled"))
        leaks = leaking_rows(read[-1].content_keys(), dev.content_keys())
        unlabelled, unlabelled_leaked = read[-1].without(leaks), len(leaks)
        if len(leaks):
            use = named("unlabelled")
            tell(f"warning: {len(leaks):,} rows of {use} stand in dev too: left out")
    if problem_type != REGRESSION:
        _warn_of_thin_labels(names, keys, rows.targets, dev.targets)
    return Labelled(
        train=train,
        dev=dev,
        unlabelled=unlabelled,
        labels=names,
        problem_type=problem_type,
        held_out=not config.dev,
        leaked=leaked,
        unlabelled_leaked=unlabelled_leaked,
        rejected=sum(rows_read.rejected for rows_read in read),
    )


def _rows(
    config: FinetuneConfig,
    use: str,
    settings: LabelSettings | None = None,
    read: Callable[[LabelColumn], Meaning] | None = None,
) -> Rows:
    spec = SourceSpec.of(
        config, text_columns=config.text_column, text_pair_column=config.text_pair_column
    )
    columns = config.columns_of_labels
    labels = LabelsWanted(columns, settings, read) if settings and read else None
    patterns, rate = getattr(config, use), config.max_reject_rate
    rows = read_rows(patterns, spec, labels=labels, max_reject_rate=rate, setting=use)
    return tell_of(rows, use)


def _check_any(train: Rows, dev: Rows) -> None:
    if not len(train) or not len(dev):
        raise InputError("too few rows: none is left to train on, or to choose on; add examples")


def _for_torch(rows: Rows) -> np.ndarray:
    assert rows.targets is not None
    return rows.targets.astype(np.float32) if rows.targets.dtype == np.float64 else rows.targets


def _check_differ(dev: np.ndarray | None, names: tuple[str, ...], problem_type: str) -> None:
    """Raise InputError where a model could be neither chosen nor calibrated on dev."""
    assert dev is not None
    if problem_type != MULTI_LABEL and len(np.unique(dev)) == 1:
        is_value = problem_type == REGRESSION
        what = f"value {dev[0, 0]}" if is_value else f"label {names[dev[0]]!r}"
        raise InputError(
            f"every row of {named('dev')} has the {what}: no model can be chosen on that; add "
            f"other rows, or leave it out, and some of {named('train')} are held out"
        )


def _warn_of_thin_labels(
    names: tuple[str, ...], keys: list[bytes], targets: np.ndarray, dev: np.ndarray | None
) -> None:
    """Tell of labels that nothing is known of: without a dev row, or with one text alone."""
    assert dev is not None
    if unchecked := labels_without_rows(dev, names):
        tell(
            f"warning: no dev row has {shown_names(unchecked)}: nothing says how well it is learnt"
        )
    rows, labels = (np.arange(len(targets)), targets) if targets.ndim == 1 else np.nonzero(targets)
    texts: dict[int, set[bytes]] = {}
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        texts.setdefault(label, set()).add(keys[row])
    if repeated := [names[label] for label in sorted(texts) if len(texts[label]) == 1]:
        tell(f"warning: all rows of {shown_names(repeated)} have the same text: add others")


def _check_all_taught(targets: np.ndarray | None, names: tuple[str, ...]) -> None:
    """Raise InputError where a label has no row left to train on: all of its rows leaked."""
    assert targets is not None
    untaught = labels_without_rows(targets, names)
    if untaught:
        more = f" (and {len(untaught) - 1} other labels)" if len(untaught) > 1 else ""
        raise InputError(
            f"label {untaught[0]!r}{more} has no row left to train on: {named('dev')} has all of "
            "them; add examples, or take them out there"
        )


def tokens_reader(config: FinetuneConfig, folder: Path, encoder: EncoderConfig) -> TokensReader:
    """How to make a model's tokens of rows; see `beam_bert.labelled.rows.tokenize_rows`.

    Raises:
      ConfigError: `--max_length` is more than the model reads.
    """
    windows = WindowSettings(window_length(config.max_length, encoder.max_length))
    tokenizer = DocumentTokenizer(folder, windows, pair=config.text_pair_column is not None)
    return lambda rows: tokenize_rows(rows, tokenizer)


def tokenized(
    config: FinetuneConfig, data: Labelled, read: TokensReader
) -> tuple[Labelled, TokenArrays, TokenArrays]:
    """The data without rows of whose text the tokenizer leaves nothing, and both kinds' tokens."""
    (train_tokens, train), (dev_tokens, dev) = tokenized_parts(
        [data.texts, data.dev],
        read,
        rejected=data.rejected,
        rows_read=len(data.texts) + len(data.dev) + data.leaked + data.rejected,
        max_reject_rate=config.max_reject_rate,
        setting="train",
    )
    lost = len(data.texts) + len(data.dev) - len(train) - len(dev)
    if not lost:
        return data, train_tokens, dev_tokens
    labelled = train[train < len(data.train)]
    unlabelled = data.unlabelled
    if unlabelled is not None:
        unlabelled = unlabelled.take(train[len(labelled) :] - len(data.train))
    left = replace(
        data,
        train=data.train.take(labelled),
        dev=data.dev.take(dev),
        unlabelled=unlabelled,
        rejected=data.rejected + lost,
    )
    _check_any(left.train, left.dev)
    if left.problem_type != REGRESSION:
        _check_all_taught(left.train_targets, left.labels)
    return left, train_tokens, dev_tokens
