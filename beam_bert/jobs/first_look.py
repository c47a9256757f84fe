"""What can be said of a run's input before Beam and torch are imported, which takes seconds."""

from __future__ import annotations

from beam_bert.settings.inference import JobConfig
from beam_bert.terminal import TERMINAL


def first_look(config: JobConfig) -> None:
    """List local input and say what will be read; what is on gs:// is looked at later.

    Raises:
      InputError: a pattern matches nothing, or may not be read.
    """
    from beam_bert.sources.listing import list_files
    from beam_bert.sources.opening import is_url

    if any(is_url(pattern) for pattern in config.input):
        _tell(config, f"reading {' '.join(config.input)} with {config.model}")
        return
    files = list_files(config.input)
    size = sum(file.size for file in files)
    count = "1 file" if len(files) == 1 else f"{len(files):,} files"
    _tell(config, f"reading {count}, {_size(size)}, with {config.model}")


def _tell(config: JobConfig, line: str) -> None:
    if config.output == "-" or TERMINAL.as_json or not TERMINAL.shows_progress:
        return  # rows or results alone go to stdout then
    # Not flushed: a closed pipe or full disk is noticed after the commit, when it does no harm.
    print(line)


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1000:,.1f} kB" if count >= 1000 else f"{count} B"
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"
