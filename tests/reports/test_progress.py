"""The line that says how far a run is."""

from __future__ import annotations

import re
import time

import pytest

from beam_bert.reports import progress


def lines(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    first: progress.Snapshot,
    later: progress.Snapshot,
) -> list[str]:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.1)
    snapshots = [first]
    with progress.show_progress(lambda: snapshots[-1]):
        time.sleep(0.05)
        snapshots.append(later)
        time.sleep(0.3)
    return capfd.readouterr().err.splitlines()


def test_progress_names_what_is_counted(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = lines(
        monkeypatch, capfd, progress.Snapshot(0, 0.0, "rows"), progress.Snapshot(1200, 0.5, "rows")
    )
    assert said
    assert all(line.startswith("1,200 rows, ") and " left" in line for line in said)


def test_time_left_goes_by_what_this_process_did(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    earlier = progress.Snapshot(1_000_000, 0.9)
    later = progress.Snapshot(1_000_010, 0.901, earlier=earlier)
    (said, *_) = lines(monkeypatch, capfd, progress.Snapshot(0, 0.0), later)
    assert said.startswith("1,000,010 documents, ")
    assert re.search(r" \d\d?\d documents/s", said)  # 10 in 0.1 s
    # A thousandth took 0.1 s, and 99 of them are left; were it 901 that it took, no time would be.
    assert "about 0:00:00 left" not in said


def test_what_an_earlier_process_did_is_no_speed_of_this_one(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    there = progress.Snapshot(1_000_000, 0.9)
    said = lines(monkeypatch, capfd, there, there)
    assert said
    assert set(said) == {"1,000,000 documents so far"}


def test_a_look_that_fails_is_left_out_and_the_next_one_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.02)
    looks = iter(range(10_000))

    def snapshot() -> progress.Snapshot:
        if (look := next(looks)) % 2 == 0:
            raise OSError("no answer")
        return progress.Snapshot(look, 0.1, "rows")

    with progress.show_progress(snapshot):
        time.sleep(0.5)
    said = capfd.readouterr().err
    assert "Traceback" not in said and " rows/s" in said
