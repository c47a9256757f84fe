"""What a person, or a log collector, is told: one place that knows how much and in which form.

Results go to stdout, everything on the way there to stderr. With `--log_format json` each is one
JSON object a line, with the names that Cloud Logging and its like look for (`severity`, `message`,
`time`).
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, NoReturn

from beam_bert.errors import one_line, printable

Level = Literal["silent", "quiet", "normal", "verbose"]


@dataclass
class Terminal:
    """How much is told, and how.

    Attributes:
      level: silent: nothing (calls from Python); quiet: results of one line, warnings and errors;
        normal; verbose: also what Beam and the model's libraries log.
      as_json: a JSON object a line in place of text and tables.
    """

    level: Level = "normal"
    as_json: bool = False
    _listeners: list[list[str]] = field(default_factory=list, repr=False)

    @property
    def shows_progress(self) -> bool:
        """Whether somebody wants to see how far a run is."""
        return self.level in ("normal", "verbose")

    def show(self, *parts: Any) -> None:
        """Lines or rich's tables on stdout, where a person reads along."""
        if not self.shows_progress or self.as_json:
            return
        for part in parts:
            if isinstance(part, str):
                print(part, flush=True)
            else:
                from rich.console import Console

                Console().print(part)

    def result(self, event: str, fields: Mapping[str, Any], line: str = "") -> None:
        """What came of a command: a JSON object, or `line` where only that is wanted."""
        if self.as_json and self.level != "silent":
            print(json.dumps({"event": event, **fields}, default=str), flush=True)
        elif self.level == "quiet" and line:
            print(line, flush=True)

    def say(self, line: str, *, at_quiet: bool = False) -> None:
        """What happens meanwhile, on stderr; `at_quiet`: what others look for in the output."""
        if self.shows_progress or (at_quiet and self.level == "quiet"):
            self._err("INFO", line)

    def warn(self, line: str) -> None:
        """What a person should know though the run goes on, on stderr."""
        for warnings in self._listeners:
            warnings.append(line.removeprefix("warning: "))
        if self.level != "silent":
            self._err("WARNING", line.removeprefix("warning: "))

    def error(self, line: str) -> None:
        """Why a command ends without what was asked for, on stderr."""
        if self.level != "silent":
            self._err("ERROR", line)

    def _err(self, severity: str, line: str) -> None:
        line = printable(line)
        if self.as_json:
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            line = json.dumps({"time": now, "severity": severity, "message": line})
        else:
            line = {"INFO": "", "WARNING": "warning: ", "ERROR": "error: "}[severity] + line
        with suppress(OSError, ValueError):  # closed: nothing stops because nobody listens
            print(line, file=sys.stderr, flush=True)

    @contextmanager
    def warnings(self) -> Iterator[list[str]]:
        """The warnings that are told while the body runs, as a list that grows."""
        found: list[str] = []
        self._listeners.append(found)
        try:
            yield found
        finally:
            self._listeners.remove(found)

    @contextmanager
    def at(self, level: Level, *, as_json: bool = False) -> Iterator[None]:
        """Tell so much while the body runs."""
        before = self.level, self.as_json
        self.level, self.as_json = level, as_json
        try:
            yield
        finally:
            self.level, self.as_json = before


TERMINAL = Terminal()
STOPPED = "stopped; the same command goes on from here"
_STDOUT_FAULTS = (errno.EPIPE, errno.ENOSPC, errno.EIO)


def tell(line: str) -> None:
    """Tell the person who started the job, as a warning where the line begins so."""
    (TERMINAL.warn if line.startswith("warning: ") else TERMINAL.say)(line)


def stoppable(run: Callable[[], int], stopped: str = STOPPED) -> int:
    """Run a command; Ctrl-C and SIGTERM end it in order, with one line and 128 + the signal.

    So does a stdout that takes no more, with 1: a pipe that nobody reads, a full disk. The second
    signal ends the process at once: whoever is asked to stop may hang.
    """
    by_signal: list[int] = []

    def stop_at(number: int, _: object) -> None:
        if by_signal:
            os._exit(128 + number)
        by_signal.append(number)
        raise KeyboardInterrupt  # the way that Ctrl-C takes is the way to stop in order

    numbers = (signal.SIGINT, signal.SIGTERM)
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop_at) for number in numbers if in_main}
    try:
        try:
            code = run()
        except SystemExit:  # argparse ends so after --help
            _flush_stdout()
            raise
        _flush_stdout()
        return code
    except OSError as error:
        if error.filename is not None or error.errno not in _STDOUT_FAULTS:
            raise
        _forget_stdout()
        TERMINAL.error(f"what there is to tell could not be written to stdout: {error.strerror}")
        return 1
    except KeyboardInterrupt as stop:
        # A job on other machines does not stop with this process; what is told of it says so.
        TERMINAL.say(str(stop) or stopped, at_quiet=True)
        return 128 + (by_signal[0] if by_signal else signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(code: int) -> NoReturn:
    """End the process of a command; one that was stopped waits for none of its threads."""
    if code > 128:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


@contextmanager
def after_commit(what: str) -> Iterator[None]:
    """Tell of work that is done: where that fails there is a warning, and the work stays done.

    Args:
      what: is told, for the warning.
    """
    try:
        yield
        _flush_stdout()
    except (Exception, SystemExit) as error:  # rich ends the process where its pipe is closed
        if isinstance(error, (OSError, SystemExit)):
            _forget_stdout()
        TERMINAL.warn(f"all is done, but {what} could not be given: {one_line(error) or 'closed'}")


def _flush_stdout() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _forget_stdout() -> None:
    """Send what is left for a closed pipe or a full disk nowhere: Python would fail of it later."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
