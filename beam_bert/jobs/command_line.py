"""The command line: flags from a job's pydantic model, a YAML file under them, the rest to Beam.

Flags are Beam-style (`--snake_case`; dashes do as well). What the job does not know goes to
Beam's PipelineOptions; what Beam does not know either is an error that suggests the nearest name.
Torch and Beam are imported only once the flags are right, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import importlib
import importlib.util
import logging
import re
import sys
import typing
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from beam_bert.errors import BeamBertError, ConfigError, one_line, printable, shortened, shown
from beam_bert.settings.fields import (
    field_group,
    is_fixed,
    is_rare,
    kind_of,
    other_name,
    takes_list,
)
from beam_bert.settings.inference import JobConfig
from beam_bert.settings.naming import called_by_flags, named
from beam_bert.storage.billing import bill_to
from beam_bert.terminal import STOPPED, TERMINAL, stoppable

Config = TypeVar("Config", bound=BaseModel)
_EVERYWHERE = ("config", "help", "quiet", "verbose", "log_format")


def parse_config(
    config: type[Config],
    argv: Sequence[str],
    prog: str,
    *,
    beam: bool = True,
    pass_on_unknown: bool = False,
) -> tuple[Config, list[str]]:
    """Read a job's settings from flags and the YAML file they name.

    Args:
      config: the model of the settings.
      argv: the flags.
      prog: the command that is run, for messages.
      beam: whether other flags go to Beam; else they are errors.
      pass_on_unknown: whether flags go to Beam that Beam does not know either; in the YAML file,
        which a person wrote, they stay errors.

    Returns:
      The settings, and the flags that are Beam's.

    Raises:
      ConfigError: a flag or field is unknown, missing or out of range, or the file is not YAML.
      SystemExit: after --help.
    """
    parser = settings_parser(config, prog, beam=beam)
    flags = _with_dashed_values(with_underscores(argv, parser), parser)
    known, beam_flags = parser.parse_known_args(flags)
    values = {name: value for name, value in vars(known).items() if value is not None}
    if values.pop("help_all", False):
        settings_parser(config, prog, beam=beam, all_flags=True).print_help()
        parser.exit()
    config_file = values.pop("config", None)
    _set_terminal(values)
    from_file = _read_yaml(config_file, values.get("billing_project")) if config_file else {}
    for name, field in config.model_fields.items():
        if (also := other_name(field)) in from_file and name not in from_file:
            from_file[name] = from_file.pop(also)
    flags_of_ours = {name for name in config.model_fields if not _is_section(config, name)}
    called_by_flags(flags_of_ours - (from_file.keys() - values.keys()))
    extra = {
        name: from_file.pop(name) for name in list(from_file) if name not in config.model_fields
    }
    others = _beam_flags(config, extra, beam_flags, beam=beam, pass_on_unknown=pass_on_unknown)
    try:
        return config.model_validate({**from_file, **values}), others
    except ValidationError as error:
        raise ConfigError(one_line_of(error, config, prog)) from None


@contextmanager
def importing() -> Iterator[None]:
    """Import torch and Beam in a process that is one command: quickly, and in silence."""
    logging.disable(logging.WARNING)  # Beam warns of every optional package that is not there
    gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of the time
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        logging.disable(logging.NOTSET)


def exit_code_of(run: Callable[[], object], stopped: str = STOPPED) -> int:
    """Run a command and say in one line why it ended early, if it did.

    Args:
      run: the command.
      stopped: what is told after Ctrl-C, unless the command itself knows better.
    """

    def told() -> int:
        try:
            run()
        except BeamBertError as error:
            tell = TERMINAL.error if error.exit_code else TERMINAL.warn
            tell(one_line(error))
            if error.to_paste and not TERMINAL.as_json:
                print(printable(error.to_paste), file=sys.stderr, flush=True)
            return error.exit_code
        return 0

    told_before = TERMINAL.level, TERMINAL.as_json
    try:
        return stoppable(told, stopped)
    finally:
        called_by_flags(None)
        TERMINAL.level, TERMINAL.as_json = told_before


def add_billing_flag(parser: argparse.ArgumentParser) -> None:
    """`--billing_project` as the jobs have it, for a command with arguments of its own."""
    text = JobConfig.model_fields["billing_project"].description
    parser.add_argument("--billing_project", metavar="PROJECT", help=text)


def parse_words(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of such a command; its requests are billed as they say.

    Raises:
      ConfigError: they are none that it takes.
    """
    words = parser.parse_args(argv)
    bill_to(words.billing_project)
    return words


class Parser(argparse.ArgumentParser):
    """Says what is wrong as every other mistake is said."""

    def error(self, message: str) -> typing.NoReturn:
        """Raise ConfigError, in place of printing the usage and ending the process."""
        raise ConfigError(f"{message.removeprefix('argument ')} (see {self.prog} --help)")


def settings_parser(
    config: type[BaseModel], prog: str, *, beam: bool, all_flags: bool = False
) -> argparse.ArgumentParser:
    """The parser of a command's flags; `--help` leaves the rare ones out, `--help_all` does not."""
    sections = [name for name in config.model_fields if _is_section(config, name)]
    first = next(n for n in ("input", "train", *config.model_fields) if n in config.model_fields)
    needed = "--config FILE" if sections else f"--{first} PATTERN … --output PLACE"
    parser = Parser(
        prog=prog,
        usage=f"{prog} {needed} [--FLAG VALUE …]"
        + (f"\n       {prog} TEXT … [--json]" if "top_k" in config.model_fields else ""),
        description=(config.__doc__ or "").strip(),
        epilog="Any other flag goes to Apache Beam: --runner, --project, --temp_location, …"
        if beam
        else None,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file with the same names; flags win."
    )
    _add_terminal_flags(parser)
    rare = [name for name in config.model_fields if is_rare(config, name)]
    if rare:
        parser.add_argument(
            "--help_all",
            action="store_true",
            default=None,
            help=f"Show {len(rare)} more flags for special cases, too.",
        )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in config.model_fields.items():
        if is_fixed(config, name):
            continue
        group = field_group(config, name)
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        if name in sections:
            about = f"{name}: {field.description}{_members(field.annotation)}"
            groups[group].description = "\n".join(filter(None, [groups[group].description, about]))
            continue
        default = default_text(field)
        help_text = (field.description or "") + (
            f" [{default}]" if default not in ("", "none") else ""
        )
        shown = help_text.replace("%", "%%")
        also = other_name(field)
        groups[group].add_argument(
            *(f"--{each}" for each in (name, also) if each),
            help=argparse.SUPPRESS if name in rare and not all_flags else shown,
            **_argument_kind(field),
        )
    return parser


def _add_terminal_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Terminal")
    level = group.add_mutually_exclusive_group()
    level.add_argument("--quiet", action="store_true", default=None, help="One line at the end.")
    level.add_argument(
        "--verbose", action="store_true", default=None, help="Also what Beam itself logs."
    )
    group.add_argument(
        "--log_format",
        choices=("text", "json"),
        help="json: a JSON object a line, results on stdout, the rest on stderr. [text]",
    )


def _set_terminal(values: dict[str, Any]) -> None:
    """Take the terminal's flags out of `values` and do what they say."""
    quiet, verbose = values.pop("quiet", False), values.pop("verbose", False)
    TERMINAL.level = "quiet" if quiet else "verbose" if verbose else "normal"
    TERMINAL.as_json = values.pop("log_format", "text") == "json"


def with_underscores(argv: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """The flags with `--top-k` as `--top_k`, where that is a flag of ours."""
    flags = []
    for word in argv:
        name, equals, value = word.partition("=")
        spelled = "--" + name[2:].replace("-", "_")
        is_ours = name.startswith("--") and spelled in parser._option_string_actions
        flags.append(f"{spelled}{equals}{value}" if is_ours else word)
    return flags


def _with_dashed_values(argv: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """`--question -when?` as `--question=-when?`: argparse would take the value for a flag."""
    flags: list[str] = []
    of_flag: list[str] = []  # a flag of ours, and its values so far

    def finish() -> None:
        name, *values = of_flag or [""]
        is_dashed = any(value.startswith("-") for value in values)
        flags.extend([f"{name}={value}" for value in values] if is_dashed else of_flag)

    for word in argv:
        is_value = not word.startswith("--") and word not in parser._option_string_actions
        if of_flag and is_value:
            of_flag.append(word)
            continue
        finish()
        of_flag = [word] if word in parser._option_string_actions else []
        flags += [] if of_flag else [word]
    finish()
    return flags


def task_of(argv: Sequence[str], prog: str) -> str:
    """What `--task` says, in the flags or else in the YAML file; "" where it says nothing."""
    parser = Parser(prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("--task")
    parser.add_argument("--config")
    parser.add_argument("--billing_project", "--billing-project")
    known, _ = parser.parse_known_args(list(argv))
    if known.task is None and known.config is not None:
        return str(_read_yaml(known.config, known.billing_project).get("task", ""))
    return known.task or ""


def _is_section(config: type[BaseModel], name: str) -> bool:
    """Whether a setting is a model of its own, which stands in the YAML file alone."""
    kind = kind_of(config.model_fields[name])
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _members(section: Any) -> str:
    """The settings of a section that is no job of its own, with their defaults."""
    fields = getattr(section, "model_fields", {}).items()
    if any(field.json_schema_extra for _, field in fields):
        return ""  # a job's settings, which its own --help shows
    lines = []
    for name, field in fields:
        values = ", ".join(map(str, typing.get_args(field.annotation)))
        of = f" One of {values}." if typing.get_origin(field.annotation) is typing.Literal else ""
        lines.append(f"\n  {name}: {field.description}{of} [{default_text(field)}]")
    return "".join(lines)


def _argument_kind(field: Any) -> dict[str, Any]:
    """How argparse reads a field: values stay text, pydantic converts and checks them."""
    inner = kind_of(field)
    if takes_list(field):
        nargs = "*" if inner is not field.annotation else "+"
        return {"nargs": nargs, "action": "extend", "metavar": "VALUE"}
    if inner is bool:
        return {"nargs": "?", "const": "true", "metavar": "BOOL"}
    if typing.get_origin(inner) is typing.Literal:
        return {"metavar": "{" + ",".join(map(str, typing.get_args(inner))) + "}"}
    return {"metavar": {int: "N", float: "X"}.get(inner, "TEXT")}


def default_text(field: Any) -> str:
    """A setting's default as a person reads it; "" where it has to be given."""
    if field.is_required():
        return ""
    default = field.default
    if default in (None, "", ()):
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    return " ".join(default) if isinstance(default, tuple) else str(default)


def _read_yaml(path: str, payer: str | None) -> dict[str, Any]:
    from beam_bert.sources.yaml_files import read_yaml  # not before --help was answered

    bill_to(payer)  # the file may lie in a bucket whose requesters pay
    data = read_yaml(path, f"--config {path}", ConfigError)
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"--config {path}: must hold `name: value` lines at its top level")
    return data


def _beam_flags(
    config: type[BaseModel],
    extra: dict[str, Any],
    flags: Sequence[str],
    *,
    beam: bool,
    pass_on_unknown: bool,
) -> list[str]:
    """Beam's flags: those of the file, then those of the command line.

    Raises:
      ConfigError: neither the job nor Beam knows one of them.
    """
    given = [*(f"--{name}" for name in extra), *flags]
    names = [f"--{name}" for name in (*config.model_fields, *_EVERYWHERE)]
    if not given:
        return []
    if not pass_on_unknown:
        spelled = _spelled_by_beam() if beam else []  # its import takes seconds
        wrong = [
            flag for flag in given if flag.startswith("-") and flag.split("=")[0] not in spelled
        ]
        if wrong or not given[0].startswith("-"):
            raise _unknown((wrong or given)[0], extra, names, spelled)
    from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

    class BeamParser(_BeamArgumentParser):
        def error(self, message: str) -> typing.NoReturn:  # its own prints all of Beam's flags
            raise ConfigError(f"Beam cannot read its flags: {message}")

    parser = BeamParser(allow_abbrev=False, add_help=False)
    for options in _all_subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(parser)
    from_file = _flags_of(extra, parser)
    checked = from_file if pass_on_unknown else [*from_file, *flags]
    _, unknown = parser.parse_known_args(checked)
    if unknown:
        beams = [name for name in parser._option_string_actions if name.startswith("--")]
        raise _unknown(unknown[0], extra, names, beams)
    return [*from_file, *flags]


def _spelled_by_beam() -> list[str]:
    """Beam's flags and its options' names, as its source spells them: Beam is not imported."""
    found = importlib.util.find_spec("apache_beam")
    folders = (found and found.submodule_search_locations) or []
    sources = [Path(folder, "options", "pipeline_options.py") for folder in folders]
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    names = re.findall(r"""dest=['"](\w+)['"]""", text)  # which YAML may set, too
    return re.findall(r"""['"](--?[A-Za-z][\w-]*)['"]""", text) + [f"--{name}" for name in names]


def _flags_of(values: dict[str, Any], parser: argparse.ArgumentParser) -> list[str]:
    """Settings of a file as Beam's flags, `name: false` as the flag that says so."""
    from apache_beam.options.pipeline_options import PipelineOptions

    switches = [action for action in parser._actions if action.nargs == 0]
    on_or_off = {name.lstrip("-") for action in switches for name in action.option_strings}
    stores_false = [s for s in switches if isinstance(s, argparse._StoreFalseAction)]
    says_no = {switch.dest: switch.option_strings[0].lstrip("-") for switch in stores_false}
    told: dict[str, Any] = {}
    for name, value in values.items():
        if value is False and name in says_no:
            told[says_no[name]] = True
        elif value is not None:
            told[name] = "False" if value is False and name not in on_or_off else value
    return list(PipelineOptions.from_dictionary(told)._flags)


def _unknown(
    given: str, of_file: Container[str], names: Sequence[str], beams: Sequence[str] = ()
) -> ConfigError:
    """The flag or line of YAML that is meant; Beam's many only where a letter or two differ."""
    flag = shortened(given.split("=")[0], 80)
    near = _near(flag, names, 0.75) or _near(flag, beams, 0.9)
    if flag.removeprefix("--") in of_file:
        hint = f"did you mean {near[0].removeprefix('--')}?" if near else "see --help for the names"
        return ConfigError(f"unknown setting {flag.removeprefix('--')} in the YAML file; {hint}")
    hint = f"; did you mean {near[0]}?" if near else " (see --help)"
    if not flag.startswith("-"):
        hint = "; a value needs its flag before it"
    return ConfigError(f"unknown flag {flag}{hint}")


def _near(flag: str, names: Sequence[str], cutoff: float) -> list[str]:
    spelled = "--" + flag.split("=")[0][2:].replace("-", "_")
    return difflib.get_close_matches(spelled, names, n=1, cutoff=cutoff)


def _all_subclasses(cls: type) -> list[Any]:
    found: list[Any] = []
    children: list[Any] = cls.__subclasses__()
    for child in children:
        found += [child, *_all_subclasses(child)]
    return found


def one_line_of(error: ValidationError, config: type[BaseModel], prog: str) -> str:
    """What is wrong with settings, all of it, in one line."""
    parts = []
    for each in error.errors():
        first = str(each["loc"][0]) if each["loc"] else ""
        if each["type"] == "extra_forbidden" and len(each["loc"]) == 1:
            near = difflib.get_close_matches(first, config.model_fields, n=1, cutoff=0.75)
            hint = f"; did you mean {near[0]}?" if near else ""
            parts.append(f"unknown setting {shortened(first, 80)}{hint}")
            continue
        place = named(first) if first else "settings"
        if each["loc"] and _is_section(config, str(each["loc"][0])):
            place = shortened(".".join(map(str, each["loc"])), 80)
        if each["type"] == "missing" and len(each["loc"]) > 1:
            parts.append(f"{place} is missing")
            continue
        if each["type"] == "missing":
            text = (config.model_fields[str(each["loc"][0])].description or "").rstrip(".")
            parts.append(f"{place} is missing: {text[:1].lower()}{text[1:]}")
            continue
        message = each["msg"].removeprefix("Value error, ")
        given = "" if each["type"] == "value_error" else f", got {shown(each['input'])}"
        parts.append(f"{place}: {message[:1].lower()}{message[1:]}{given}")
    where = f"{prog} --help" if " " in prog else "its docstring"
    return "; ".join(parts) + f" (see {where})"
