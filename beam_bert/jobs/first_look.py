"""What can be said of a run's input before Beam and torch are imported, which takes seconds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from beam_bert.errors import OutputError
from beam_bert.jobs.single_file import is_single
from beam_bert.models.resolve import check_name
from beam_bert.settings.answer import AnswerConfig
from beam_bert.settings.inference import JobConfig, SourceConfig
from beam_bert.settings.naming import named
from beam_bert.sources.listing import list_files
from beam_bert.sources.opening import is_url
from beam_bert.sources.resolving import AskingSettings, check_columns
from beam_bert.sources.spec import DEFAULT_SLICE_BYTES, SourceSpec
from beam_bert.terminal import TERMINAL

_MOST_BYTES = 8 << 20  # of files that are looked into twice
# Who names such a file expects one; a folder would take the name without a word.
_NOT_WRITTEN = (".avro", ".gz", ".json", ".ndjson", ".orc", ".tsv", ".txt", ".xlsx", ".zip", ".zst")


def first_look(config: JobConfig) -> None:
    """List local input, look for the named columns, say what will be read; gs:// comes later.

    Raises:
      InputError: a pattern matches nothing, or may not be read; no file has a named column.
      ModelError: there is no such folder.
      OutputError: the output is a file, or is named as one of a format that is not written.
    """
    _check_output(config.output)
    if any(is_url(pattern) for pattern in config.input):
        _tell(config, f"reading {' '.join(config.input)} with {config.model}")
        return
    files = list_files(config.input, apart=config.not_input)
    check_name(config.model)
    size = sum(file.size for file in files)
    if size <= _MOST_BYTES:
        check_columns(files, source_spec(config), asked_by(config))
    count = "1 file" if len(files) == 1 else f"{len(files):,} files"
    _tell(config, f"reading {count}, {_size(size)}, with {config.model}")


def source_spec(config: SourceConfig, slice_bytes: int = DEFAULT_SLICE_BYTES) -> SourceSpec:
    """How to read the input, before anything is known of the files."""
    return SourceSpec.of(
        config,
        text_columns=config.text_column,
        text_pair_column=config.pair_column,
        id_column=config.id_column,
        keep_columns=config.keep_columns,
        keep_text=config.keep_text,
        text_unit=config.text_unit,
        slice_bytes=slice_bytes,
        max_lost_files=config.max_lost_files if isinstance(config, JobConfig) else None,
    )


def asked_by(config: SourceConfig) -> AskingSettings:
    """The settings that ask for columns: the second text is the question of `answer`."""
    pair = "question_column" if isinstance(config, AnswerConfig) else "text_pair_column"
    return AskingSettings(pair=pair)


def _check_output(output: str) -> None:
    if is_url(output) or is_single(output):
        return
    place = Path(output).expanduser()
    names_a_file = place.suffix.lower() in _NOT_WRITTEN and not place.is_dir()
    if place.is_file() or names_a_file:
        what = f"would be a folder named {place.name}" if names_a_file else "is a file"
        raise OutputError(
            f"{named('output', output)} {what}; name a folder, or one file as FILE.parquet, "
            "FILE.csv or FILE.jsonl"
        )


def _tell(config: JobConfig, line: str) -> None:
    if config.output == "-" or TERMINAL.as_json or not TERMINAL.shows_progress:
        return  # rows or results alone go to stdout then
    with suppress(OSError):  # a closed pipe or full disk is told after the commit: no harm then
        print(line)


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1000:,.1f} kB" if count >= 1000 else f"{count} B"
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"
