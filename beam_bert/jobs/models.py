"""The command `models`: look into a model store and move its aliases."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from beam_bert.errors import ConfigError
from beam_bert.jobs.command_line import Parser, add_billing_flag, parse_words
from beam_bert.models import ModelStore, display
from beam_bert.models.store import ANY, PRODUCTION, split_reference
from beam_bert.terminal import after_commit

_UNSET = "none"


def run(argv: Sequence[str], prog: str) -> None:
    """Run the command."""
    arguments = parse_words(parser(prog), argv)
    store = ModelStore(arguments.store)
    reference = split_reference(arguments.store)
    if reference is not None and not store.exists():
        raise ConfigError(
            f"{arguments.store}: give the store alone ({reference[0]}); a version or alias stands "
            "after it"
        )
    if arguments.command in ("promote", "rollback"):
        _move(store, arguments)
    elif arguments.command == "show":
        record = store.resolve(arguments.version)
        store.verify(record)
        display.show_version(store, record, as_json=arguments.json)
    else:
        store.require()
        show = display.show_store if arguments.command == "list" else display.show_history
        show(store, as_json=arguments.json)


def _move(store: ModelStore, arguments: argparse.Namespace) -> None:
    expected = None if arguments.expected_current == _UNSET else arguments.expected_current
    before = store.aliases()
    if arguments.command == "promote":
        move = store.promote(arguments.version, reason=arguments.reason, expected_current=expected)
    else:
        move = store.rollback(reason=arguments.reason, expected_current=expected)
    with after_commit("what was moved"):
        display.show_move(before, move, as_json=arguments.json)


def parser(prog: str) -> argparse.ArgumentParser:
    """What the command takes."""
    parser = Parser(
        prog=prog,
        description="Look into a model store, and move its aliases.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _command(commands, "list", "Its versions, newest first, and what points at them.")
    _command(commands, "history", "Every move and verdict with its reason, newest first.")
    show = _command(commands, "show", "One version, its files checked against their checksums.")
    show.add_argument(
        "version", nargs="?", default=PRODUCTION, help=f"Version or alias [{PRODUCTION}]."
    )
    promote = _command(commands, "promote", "Point production at a version, previous at the old.")
    promote.add_argument("version", help="Version or alias, such as candidate.")
    rollback = _command(commands, "rollback", "Swap production and previous.")
    for command in (promote, rollback):
        command.add_argument("--reason", required=True, help="Why; the history keeps it.")
        command.add_argument(
            "--expected_current",
            metavar="VERSION",
            default=ANY,
            help=f"Fail unless production is this version ({_UNSET}: not set) until then.",
        )
    return parser


def _command(commands: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, allow_abbrev=False
    )
    command.add_argument("store", help="Folder or gs:// prefix of the store.")
    add_billing_flag(command)
    command.add_argument("--json", action="store_true", help="JSON instead of a table.")
    return command
