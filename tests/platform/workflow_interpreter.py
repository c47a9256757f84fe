"""Runs Google Workflows YAML in this process: as much of the language as nightly.yaml uses.

What a step may hold, and how scopes, `next`, `try`/`retry`/`except` and expressions behave, is from
https://docs.cloud.google.com/workflows/docs/reference/syntax. What is not known here raises
`NotSupported`, so that a test never passes over it. It is stricter than the service where its pages
are silent: no list or map literals inside expressions, `next` only to a step of the same list.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import operator
import re
import urllib.parse
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

STEP_KEYS = {
    "call", "args", "result", "assign", "switch", "for", "try", "retry", "except", "next",
    "return", "raise", "steps",
}  # fmt: skip
DEFAULT_RETRIES = 5
# https://cloud.google.com/workflows/quotas
VARIABLES_BYTES = 512 * 1024  # of all variables together
ANSWER_BYTES = 2 * 1024 * 1024
RETRIED_CODES = (429, 502, 503, 504)


class NotSupported(Exception):
    """The workflow uses something that this interpreter, or the service, does not know."""


class WorkflowError(Exception):
    """An error that the workflow raised, or a call did; `value` is what `except` sees."""

    def __init__(self, value: Any) -> None:
        super().__init__(value if isinstance(value, str) else json.dumps(value))
        self.value = value


def http_error(code: int, message: str = "") -> WorkflowError:
    return WorkflowError({"code": code, "message": message, "tags": ["HttpError"]})


class _Continue(Exception):
    """On to the next turn of the loop."""


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class _Scope:
    """Variables; a for loop and an except have their own, over those around them."""

    def __init__(self, values: dict[str, Any], outer: _Scope | None = None) -> None:
        self.values = values
        self.outer = outer

    def find(self, name: str) -> _Scope | None:
        if name in self.values:
            return self
        return self.outer.find(name) if self.outer else None

    def get(self, name: str) -> Any:
        scope = self.find(name)
        if scope is None:
            raise NotSupported(f"the variable {name} is read before it is set")
        return scope.values[name]

    def set(self, name: str, value: Any) -> None:
        (self.find(name) or self).values[name] = value


class Workflow:
    """A workflow and the world it runs in.

    Args:
      source: the YAML document, parsed.
      calls: what a connector's name does; takes the arguments, returns the result or raises
        WorkflowError.
      environment: what sys.get_env gives.
      clock: seconds since the epoch; sys.sleep moves it on.
    """

    def __init__(
        self,
        source: dict[str, Any],
        calls: dict[str, Callable[[dict[str, Any]], Any]],
        environment: dict[str, str],
        clock: float,
    ) -> None:
        self.source = source
        self.calls = calls
        self.environment = environment
        self.now = clock
        self.logs: list[dict[str, Any]] = []
        self._scopes: list[_Scope] = []  # those whose variables are held now

    def run(self, argument: Any = None) -> Any:
        return self._subworkflow("main", argument)

    def _subworkflow(self, name: str, arguments: Any) -> Any:
        body = self.source[name]
        parameters = body.get("params", [])
        if name == "main":
            values = {parameters[0]: arguments} if parameters else {}
        else:
            if set(arguments) != set(parameters):
                raise NotSupported(f"{name} takes {parameters}, got {sorted(arguments)}")
            values = dict(arguments)
        try:
            self._steps(body["steps"], _Scope(values))
        except _Return as returned:
            return returned.value
        return None

    def _check_size(self) -> None:
        used = sum(_size(scope.values) for scope in self._scopes)
        if used > VARIABLES_BYTES:
            message = f"the variables hold {used} bytes, {VARIABLES_BYTES} are allowed"
            raise WorkflowError({"code": 0, "message": message, "tags": ["ResourceLimitError"]})

    def _steps(self, steps: list[dict[str, Any]], scope: _Scope) -> None:
        is_new = scope not in self._scopes
        if is_new:
            self._scopes.append(scope)
        try:
            self._run_steps(steps, scope)
        finally:
            if is_new:
                self._scopes.remove(scope)

    def _run_steps(self, steps: list[dict[str, Any]], scope: _Scope) -> None:
        names = [next(iter(step)) for step in steps]
        position = 0
        while position < len(steps):
            jump = self._step(steps[position][names[position]], scope)
            self._check_size()
            if jump is None:
                position += 1
            elif jump == "continue":
                raise _Continue
            elif jump in names:
                position = names.index(jump)
            else:
                raise NotSupported(f"next: {jump} is not a step of the same list")

    def _step(self, step: dict[str, Any], scope: _Scope) -> str | None:
        unknown = set(step) - STEP_KEYS
        if unknown:
            raise NotSupported(f"a step has {sorted(unknown)}")
        if "try" in step:
            self._try(step, scope)
        elif "call" in step:
            self._call(step, scope)
        elif "assign" in step:
            for item in step["assign"]:
                ((name, value),) = item.items()
                scope.set(name, copy.deepcopy(self.evaluate(value, scope)))
        elif "switch" in step:
            for case in step["switch"]:
                if self._truth(case["condition"], scope):
                    rest = {key: value for key, value in case.items() if key != "condition"}
                    return self._step(rest, scope)
        elif "for" in step:
            loop = step["for"]
            for item in self.evaluate(loop["in"], scope):
                with contextlib.suppress(_Continue):
                    self._steps(loop["steps"], _Scope({loop["value"]: item}, scope))
        elif "steps" in step:
            self._steps(step["steps"], scope)
        elif "return" in step:
            raise _Return(self.evaluate(step["return"], scope))
        elif "raise" in step:
            raise WorkflowError(self.evaluate(step["raise"], scope))
        return step.get("next")

    def _truth(self, condition: Any, scope: _Scope) -> bool:
        value = self.evaluate(condition, scope)
        if not isinstance(value, bool):
            raise NotSupported(f"the condition {condition} is {value!r}, not a boolean")
        return value

    def _call(self, step: dict[str, Any], scope: _Scope) -> None:
        name = step["call"]
        arguments = self.evaluate(step.get("args", {}), scope)
        if name == "sys.sleep":
            self.now += arguments["seconds"]
            result = None
        elif name == "sys.log":
            self.logs.append({"severity": arguments["severity"], **arguments["json"]})
            result = None
        elif name in self.source:
            result = self._subworkflow(name, arguments)
        elif name in self.calls:
            result = self.calls[name](arguments)
            if _size(result) > ANSWER_BYTES:
                raise http_error(0, f"{name} answered with {_size(result)} bytes")
        else:
            raise NotSupported(f"call: {name}")
        if "result" in step:
            scope.set(step["result"], result)

    def _try(self, step: dict[str, Any], scope: _Scope) -> None:
        retry = step.get("retry")
        if retry not in (None, "${http.default_retry}"):
            raise NotSupported(f"retry: {retry}")
        left = DEFAULT_RETRIES if retry else 0
        while True:
            try:
                self._step(step["try"], scope)
                return
            except WorkflowError as error:
                if left and isinstance(error.value, dict) and error.value["code"] in RETRIED_CODES:
                    left -= 1
                    self.now += 1
                    continue
                if "except" not in step:
                    raise
                handler = step["except"]
                inner = _Scope({handler["as"]: error.value}, scope)
                self._steps(handler["steps"], inner)
                return

    def evaluate(self, value: Any, scope: _Scope) -> Any:
        """A YAML value with its `${…}` computed; a string is an expression as a whole or not."""
        if isinstance(value, dict):
            return {key: self.evaluate(each, scope) for key, each in value.items()}
        if isinstance(value, list):
            return [self.evaluate(each, scope) for each in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        if not (value.startswith("${") and value.endswith("}")):
            raise NotSupported(f"an expression inside other text: {value}")
        return self._expression(ast.parse(value[2:-1].strip(), mode="eval").body, scope)

    def _expression(self, node: ast.expr, scope: _Scope) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            words = {"true": True, "false": False, "null": None}
            return words[node.id] if node.id in words else scope.get(node.id)
        if isinstance(node, ast.Attribute):
            return self._member(self._expression(node.value, scope), node.attr)
        if isinstance(node, ast.Subscript):
            return self._member(
                self._expression(node.value, scope), self._expression(node.slice, scope)
            )
        if isinstance(node, ast.BoolOp):
            values = (self._expression(each, scope) for each in node.values)
            return all(values) if isinstance(node.op, ast.And) else any(values)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return not self._expression(node.operand, scope)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self._expression(node.left, scope), self._expression(node.right, scope)
            if isinstance(left, str) != isinstance(right, str):
                raise WorkflowError({"code": 0, "message": "+ of text and number", "tags": []})
            return left + right
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            left, right = self._expression(node.left, scope), self._expression(node.right, scope)
            return _ARITHMETIC[type(node.op)](left, right)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left = self._expression(node.left, scope)
            right = self._expression(node.comparators[0], scope)
            return _COMPARE[type(node.ops[0])](left, right)
        if isinstance(node, ast.Call):
            arguments = [self._expression(each, scope) for each in node.args]
            return self._function(ast.unparse(node.func), arguments)
        raise NotSupported(f"expression {ast.unparse(node)}")

    @staticmethod
    def _member(container: Any, key: Any) -> Any:
        try:
            return container[key]
        except (KeyError, IndexError, TypeError):
            raise WorkflowError(
                {"code": 0, "message": f"no {key} in {container!r}", "tags": ["KeyError"]}
            ) from None

    def _function(self, name: str, arguments: list[Any]) -> Any:
        if name == "sys.now":
            return self.now
        if name == "sys.get_env":
            return self.environment[arguments[0]]
        if name not in _FUNCTIONS:
            raise NotSupported(f"function {name}")
        return _FUNCTIONS[name](*arguments)


def _format_time(seconds: float, zone: str = "UTC") -> str:
    moment = datetime.fromtimestamp(seconds, ZoneInfo(zone))
    if moment.utcoffset() == timezone.utc.utcoffset(None):
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return moment.isoformat(timespec="microseconds")


def _decode(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise WorkflowError({"code": 0, "message": str(error), "tags": ["ValueError"]}) from None


def _size(value: Any) -> int:
    return len(json.dumps(value, default=str))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(value: Any) -> str:
    return {dict: "map", list: "list", str: "string", bytes: "bytes"}.get(type(value), "other")


_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: item in container,
}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int,
    "default": lambda value, other: other if value is None else value,
    "string": _text,
    "get_type": _type,
    "json.decode": _decode,
    "map.get": lambda container, key: container.get(key),
    "map.merge": lambda first, second: {**first, **second},
    "list.concat": lambda items, item: [*items, item],
    "text.match_regex": lambda text, pattern: re.search(pattern, text) is not None,
    "text.replace_all": lambda text, old, new: text.replace(old, new),
    "text.substring": lambda text, start, end: text[start:end],
    "text.url_encode": lambda text: urllib.parse.quote(text, safe=""),
    "time.format": _format_time,
    "time.parse": lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp(),
}
