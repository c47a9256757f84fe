"""YAML files of people, read in one way: plain values, no aliases, bounded, errors in one line."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from beam_bert.errors import UserError, shortened, shown
from beam_bert.settings.limits import YAML_BYTES, YAML_LEVELS, YAML_NODES
from beam_bert.sources.opening import read_text

# libyaml's loader is Python's own but for the parser, which is twenty times as fast.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What PyYAML's constructors raise for values that are not what they look like: impossible dates,
# numbers of thousands of digits, `!!int abc`, a list as a name.
_NO_VALUE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)

_NUMBER_CHARACTERS = 400


class _UniqueKeyLoader(_SafeLoader):
    """Names are unique, as YAML has it; PyYAML would take the last one and lose the others."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        try:
            # 1:30:00 is a number to YAML, which takes minutes for a million digits.
            if kind in ("int", "float") and len(node.value) > _NUMBER_CHARACTERS:
                raise ValueError
            return super().construct_object(node, deep)
        except _NO_VALUE:
            raise _fault(f"{shown(node.value)} is no {shortened(kind, 40)}", node) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise _fault(f"{shown(key.value)} is given twice", key)
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def _fault(problem: str, node: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def read_yaml(path: str, name: str, error: type[UserError], *, or_none: bool = False) -> Any:
    """What the YAML file at a local path or URL holds.

    Args:
      path: of the file.
      name: what to call it in errors.
      error: what to raise.
      or_none: None for a file that is not there.

    Raises:
      UserError: `error`: it cannot be read, is too large or deep, or is not YAML; aliases, which
        can stand for more than any memory holds, are refused.
    """
    try:
        text = read_text(path, YAML_BYTES)
    except FileNotFoundError:
        if or_none:
            return None
        raise error(f"{name}: cannot be read (there is no such file)") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{name}: cannot be read ({problem})") from None
    return parse_yaml(text, name, error)


def parse_yaml(text: str, name: str, error: type[UserError]) -> Any:
    """What a YAML text holds; see `read_yaml`."""
    try:
        _check_events(text)
        return yaml.load(text, _UniqueKeyLoader)
    except yaml.YAMLError as problem:
        raise error(f"{name}: not YAML: {_told(problem)}") from None
    except (*_NO_VALUE, RecursionError) as problem:
        raise error(f"{name}: not YAML: {shortened(str(problem))}") from None


def _check_events(text: str) -> None:
    """Refuse what would take more time or stack than it is worth, before any of it is built."""
    level = 0
    for number, event in enumerate(yaml.parse(text, _SafeLoader)):
        level += isinstance(event, yaml.CollectionStartEvent)
        level -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise _fault("aliases are not read, write the value out", event)
        if level > YAML_LEVELS:
            raise _fault(f"more than {YAML_LEVELS} levels", event)
        if number > YAML_NODES:
            raise _fault(f"more than {YAML_NODES:,} values", event)


def _told(error: yaml.YAMLError) -> str:
    """PyYAML's message without the text that it quotes, which may be all of a long line."""
    mark = getattr(error, "problem_mark", None)
    parts = [getattr(error, name, None) for name in ("context", "problem", "reason")]
    what = ", ".join(filter(None, parts)) or str(error)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return place + shortened(" ".join(what.split()))
