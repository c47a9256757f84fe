"""What a person sees while a run goes on: a bar, or a line now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from beam_bert.terminal import TERMINAL

TERMINAL_INTERVAL_S = 0.5
PLAIN_INTERVAL_S = 10.0


@dataclass(frozen=True)
class Snapshot:
    """How far a run is.

    Attributes:
      done: documents, or what else `unit` says.
      share: of the input's bytes, or of what there is to do, that is done.
      earlier: where a run that was killed had come to; None: where the first look found it.
    """

    done: int
    share: float
    unit: str = "documents"
    earlier: Snapshot | None = None


@contextmanager
def show_progress(snapshot: Callable[[], Snapshot]) -> Iterator[None]:
    """Show a run's progress on stderr while the body runs: a bar, or plain lines elsewhere."""
    if not TERMINAL.shows_progress:
        yield
        return
    console = Console(stderr=True)
    finished = threading.Event()
    show = _bar if console.is_terminal and not TERMINAL.as_json else _lines
    thread = threading.Thread(target=show, args=(console, snapshot, finished), daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _bar(console: Console, snapshot: Callable[[], Snapshot], finished: threading.Event) -> None:
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("starting", total=1.0)
        for now, text in _looks(snapshot, finished, TERMINAL_INTERVAL_S):
            bars.update(bar, completed=now.share, description=text)


def _lines(console: Console, snapshot: Callable[[], Snapshot], finished: threading.Event) -> None:
    for _, text in _looks(snapshot, finished, PLAIN_INTERVAL_S):
        TERMINAL.say(text)


def _looks(
    snapshot: Callable[[], Snapshot], finished: threading.Event, interval_s: float
) -> Iterator[tuple[Snapshot, str]]:
    """Each look but the first, with what it says; one that fails is left out.

    A listing that fails is the run's own to tell of, if it matters to it.
    """
    started, first = 0.0, None
    while True:
        with suppress(Exception):
            now = snapshot()
            if first is None:
                started, first = time.monotonic(), now
            else:
                yield now, _progress_text(first, now, time.monotonic() - started)
        if finished.wait(interval_s):
            return


def _progress_text(first: Snapshot, now: Snapshot, seconds: float) -> str:
    """Speed and time left go by what this process did: a run may go on from a kill."""
    begin = now.earlier or first
    done, share = now.done - begin.done, now.share - begin.share
    if not done:  # something else goes first: a model is loaded, a head is fitted
        return f"{now.done:,} {now.unit} so far"
    text = f"{now.done:,} {now.unit}, {done / seconds:,.0f} {now.unit}/s"
    if share > 0 and now.share < 1:
        left = int(seconds * (1 - now.share) / share)
        text += f", about {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
    return text
