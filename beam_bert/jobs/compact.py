"""The command `compact`: the small files of a finished output become fewer, larger ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from beam_bert.errors import ConfigError
from beam_bert.jobs.command_line import Parser, add_billing_flag, parse_words
from beam_bert.settings.limits import COMPACTED_MIB
from beam_bert.terminal import TERMINAL, after_commit

_MIB = 1 << 20


def run(argv: Sequence[str], prog: str) -> None:
    """Run the command."""
    words = parse_words(parser(prog), argv)
    if words.target_mib < 1:
        raise ConfigError(f"--target_mib={words.target_mib}: give 1 or more")
    # Only now: --help answers at once.
    from beam_bert.sinks.compacting import compact
    from beam_bert.software import software_versions

    manifest = compact(words.output, words.target_mib * _MIB, software_versions())
    with after_commit("what was merged"):
        if manifest is None:
            TERMINAL.show("nothing to merge: no two neighbours go into one file")
            return
        files = {each.kept.path: each.kept for each in manifest.replaced if each.kept}
        TERMINAL.show(
            f"{len(manifest.replaced):,} files are {len(files):,} now, "
            f"{sum(file.bytes for file in files.values()) / _MIB:,.1f} MiB; "
            f"run {manifest.run_id}"
        )


def parser(prog: str) -> argparse.ArgumentParser:
    """What the command takes."""
    words = Parser(prog=prog, description=__doc__, allow_abbrev=False)
    words.add_argument("output", help="Folder or gs:// prefix that a job wrote into.")
    words.add_argument(
        "--target_mib",
        type=int,
        default=COMPACTED_MIB,
        help="Neighbouring files of a partition are merged up to so many MiB. [%(default)s]",
    )
    add_billing_flag(words)
    return words
