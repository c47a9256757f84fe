"""Go through a training, alone in its work folder, and deliver what came of it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from beam_bert.errors import OutputError, RunFailed
from beam_bert.reports.progress import Snapshot, show_progress
from beam_bert.settings.naming import named
from beam_bert.terminal import tell
from beam_bert.training.checkpoint import NAME as CHECKPOINT
from beam_bert.training.delivery import Delivered
from beam_bert.training.loop import Objective, Plan, Progress, Start, Trained
from beam_bert.training.setup import Setup, work_folder
from beam_bert.training.soup import WiseFtWeight, train_soup

_STALE_S = 30 * 24 * 3600.0


class Training(Protocol):
    """A training that is set up: what `run_training` goes through, and what becomes of it."""

    @property
    def network(self) -> Trained:
        """What is trained."""

    @property
    def objective(self) -> Objective:
        """What it minimizes."""

    def plans(self) -> Sequence[Plan]:
        """What to go through: one training, or several whose weights are averaged."""

    def finish(self, progress: Progress, work: Path) -> Delivered:
        """Save and publish the kept epoch's weights."""


def run_training(
    training: Training,
    setup: Setup[Any],
    key: str,
    start: Start | None = None,
    wise_ft_weight: WiseFtWeight | None = None,
) -> Delivered:
    """Train, from the last checkpoint on if there is one, deliver, and tell how good it is.

    Args:
      training: what to train, and how.
      setup: what it began with.
      key: names the run in its checkpoint, and the folder of that.
      start: as `beam_bert.training.loop.train` has it.
      wise_ft_weight: as `beam_bert.training.soup.train_soup` has it.

    Raises:
      RunFailed: it did not finish; nothing was published.
    """
    plans, work = training.plans(), work_folder(setup.config, key)
    trainings = [Progress() for _ in plans]

    def snapshot() -> Snapshot:
        earlier = Snapshot(
            sum(progress.resumed_rows for progress in trainings),
            sum(progress.resumed_share for progress in trainings) / len(plans),
        )
        rows = sum(progress.rows for progress in trainings)
        share = sum(progress.share for progress in trainings) / len(plans)
        return Snapshot(rows, share, "rows", earlier)

    with _alone(work):
        _drop_stale(work.parent)
        with show_progress(snapshot):
            whole = train_soup(
                training.network,
                training.objective,
                plans,
                work=work,
                key=key,
                progress=trainings,
                start=start,
                wise_ft_weight=wise_ft_weight,
            )
        delivered = training.finish(whole, work)
    for name, value in delivered.metrics.items():
        tell(f"dev {name} {value:.4f}")
    tell(f"model: {delivered.location} (in {time.monotonic() - setup.started:,.0f} s)")
    return delivered


def _drop_stale(folder: Path) -> None:
    """Remove what nobody has gone on with for a month: trainings on labels that changed since."""
    for work in {state.parent for state in folder.glob(f"*/{CHECKPOINT}")}:
        # Of a soup, or one that the start is mixed into, each training has a state of its own.
        try:
            newest = max(state.stat().st_mtime for state in work.rglob(CHECKPOINT))
        except (FileNotFoundError, ValueError):  # somebody goes on with it, or is done with it, now
            continue
        is_ours = re.fullmatch("[0-9a-f]{16}", work.name)
        if is_ours and time.time() - newest > _STALE_S:
            tell(f"removed {work}: a training that nobody went on with for 30 days")
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold a lock beside the run's folder, which dies with the process.

    The output is no part of a run's key: two stores that learn from the same rows would share it.
    """
    lock = FileLock(work.with_name(f"{work.name}.lock"), blocking=False)
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunFailed(
            f"the same training is running already, in {work}; run this command again after it, "
            f"or name another {named('work_folder')}"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{work} cannot be written ({error.strerror}); name another {named('work_folder')}"
        ) from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # who waits for it sees that, and makes anew
        lock.release()
