"""Publishing and moving aliases, killed at every mutation of the store, and many at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beam_bert.errors import BeamBertError, RunFailed, StoreConflict
from beam_bert.models import ModelStore
from beam_bert.storage.base import StoredFile
from beam_bert.storage.gcs import GcsStorage
from beam_bert.storage.local import LocalStorage
from beam_bert.storage.places import open_storage

MUTATIONS = ("write", "create", "upload", "delete", "publish")
NEVER = 10**6


class Killed(BaseException):
    """Not an Exception: nothing in the store may catch it, as nothing catches SIGKILL."""


class Faults:
    """Makes the n-th mutation of any place fail, before or after it took effect.

    A killed process makes no mutation any more; after an error it goes on, as the store wants.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, at: int, error: type[BaseException], after: bool
    ) -> None:
        self.mutations = 0
        self._at, self._error, self._after = at, error, after
        self._lock = threading.Lock()
        for place in (LocalStorage, GcsStorage):
            for name in MUTATIONS:
                patch.setattr(place, name, self._failing(getattr(place, name)))

    def _failing(self, real: Callable) -> Callable:
        def mutate(*args):  # type: ignore[no-untyped-def]
            with self._lock:  # one after the other: the dead do not go on in other threads
                self.mutations += 1
                dead = self._error is Killed and self.mutations > self._at
                fails = dead or self.mutations == self._at
                if fails and (dead or not self._after):
                    raise self._error("no room")
                result = real(*args)
                if fails:
                    raise self._error("no answer")
                return result

        return mutate


def failing(
    action: Callable[[], object], at: int, error: type[BaseException], after: bool
) -> BaseException | None:
    with pytest.MonkeyPatch.context() as patch:
        Faults(patch, at, error, after)
        try:
            action()
        except (Killed, BeamBertError) as raised:
            return raised
        return None


def count_mutations(action: Callable[[], object]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, NEVER, Killed, after=False)
        action()
        return faults.mutations


def files(location: str) -> list[StoredFile]:
    return open_storage(location).list_files("")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_publication_killed_anywhere_leaves_the_versions_or_one_whole_more(
    location: str, model: Path, other_model: Path, after: bool
) -> None:
    store = ModelStore(location)
    old = store.publish(model)
    store.promote(old.version, reason="first")
    mutations = count_mutations(lambda: store.publish(other_model, notes="to count"))
    assert mutations == len(old.files) + 1  # the record is the last one
    before = store.versions()

    for at in range(1, mutations + 1):
        assert isinstance(failing(lambda: store.publish(other_model), at, Killed, after), Killed), (
            at
        )
        fresh = ModelStore(location)
        made = [record for record in fresh.versions() if record not in before]
        assert len(made) == (1 if after and at == mutations else 0), at
        assert fresh.resolve("production") == old
        for record in fresh.versions():
            fresh.verify(record)
    # The next night simply does it again.
    assert [store.publish(other_model)] == made or after is False
    assert len(store.versions()) == len(before) + 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_publication_that_fails_anywhere_leaves_not_one_file(
    location: str, model: Path, other_model: Path, after: bool
) -> None:
    store = ModelStore(location)
    store.promote(store.publish(model).version, reason="first")
    before = files(location)
    uploads = len(store.resolve("production").files)
    for at in range(1, uploads + 1):
        raised = failing(lambda: store.publish(other_model), at, RunFailed, after)
        assert isinstance(raised, RunFailed), at
        assert files(location) == before, at


def test_a_record_that_cannot_be_written_takes_its_files_along(tmp_path: Path, model: Path) -> None:
    store = ModelStore(tmp_path)
    mutations = count_mutations(lambda: store.publish(model, notes="to count"))
    before = files(str(tmp_path))
    raised = failing(lambda: store.publish(model), mutations, RunFailed, after=False)
    assert isinstance(raised, RunFailed)
    assert files(str(tmp_path)) == before


def test_a_record_whose_answer_was_lost_keeps_its_files(
    new_gs_location: Callable[[], str], model: Path
) -> None:
    location = new_gs_location()
    store = ModelStore(location)
    mutations = count_mutations(lambda: store.publish(model, notes="to count"))
    raised = failing(lambda: store.publish(model), mutations, RunFailed, after=True)
    assert isinstance(raised, RunFailed)
    for record in store.versions():
        store.verify(record)
    assert len(store.versions()) == 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("action", ["promote", "rollback", "set_alias"])
def test_a_move_killed_anywhere_leaves_the_old_aliases_or_the_new_ones(
    location: str, model: Path, action: str, after: bool
) -> None:
    store = ModelStore(location)
    one, two, three = (store.publish(model, notes=str(n)).version for n in range(3))
    store.promote(one, reason="first")
    store.promote(two, reason="second")
    old = {"previous": one, "production": two}
    move, new = {
        "promote": (
            lambda: store.promote(three, reason="third"),
            {"previous": two, "production": three},
        ),
        "rollback": (
            lambda: store.rollback(reason="third", expected_current=two),
            {"previous": two, "production": one},
        ),
        "set_alias": (
            lambda: store.set_alias("candidate", three, reason="third"),
            {"candidate": three, **old},
        ),
    }[action]

    raised = failing(move, 1, Killed, after)
    assert isinstance(raised, Killed)
    fresh = ModelStore(location)
    assert fresh.aliases() == (new if after else old)
    assert [each.reason for each in fresh.history()][2:] == (["third"] if after else [])
    if after and action == "rollback":
        with pytest.raises(StoreConflict):  # not swapped back again by a retry
            move()
    else:
        move()
    assert fresh.aliases() == new
    assert [each.reason for each in fresh.history()] == ["first", "second", "third"]


def test_a_move_is_one_mutation(location: str, model: Path) -> None:
    store = ModelStore(location)
    version = store.publish(model).version
    assert count_mutations(lambda: store.promote(version, reason="first")) == 1
    assert count_mutations(lambda: store.promote(version, reason="again")) == 0


def test_a_write_whose_answer_was_lost_and_that_was_sent_again_is_ours(
    location: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(location)
    version = store.publish(model).version
    kind = type(open_storage(location))
    real = kind.create

    def create_twice(*args: object) -> bool:
        real(*args)
        return bool(real(*args))  # False: the name is taken, by ourselves

    monkeypatch.setattr(kind, "create", create_twice)
    store.promote(version, reason="first")
    assert [move.reason for move in store.history()] == ["first"]


def test_sigkill_in_the_middle_of_a_large_upload_leaves_nothing_to_see(
    tmp_path: Path, model: Path
) -> None:
    location = tmp_path / "store"
    script = (
        "import os, stat, sys, time; from beam_bert.models import ModelStore; real = os.fsync\n"
        "def slow(number):\n"
        "    real(number)\n"
        "    if stat.S_ISREG(os.fstat(number).st_mode):\n"
        "        print('synced', flush=True); time.sleep(60)\n"
        "os.fsync = slow; ModelStore(sys.argv[1]).publish(sys.argv[2])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(location), str(model)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = ModelStore(location)
    assert files(str(location)) != []
    assert not store.exists()
    store.verify(store.publish(model))


# Many at once


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(
    location: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(location)
    versions = [store.publish(model, notes=str(n)).version for n in range(3)]
    store.promote(versions[0], reason="first")
    kind = type(open_storage(location))
    real, both_looked = kind.create, threading.Barrier(2)

    def create_together(*args: object) -> bool:
        if not both_looked.broken and threading.current_thread().name.startswith("racer"):
            both_looked.wait(10)
        return bool(real(*args))

    def promote(version: str) -> str | StoreConflict:
        try:
            ModelStore(location).promote(version, reason=f"it is {version}")
        except StoreConflict as conflict:
            return conflict
        return version

    monkeypatch.setattr(kind, "create", create_together)
    with ThreadPoolExecutor(2, thread_name_prefix="racer") as racers:
        outcomes = list(racers.map(promote, versions[1:]))
    winners = [outcome for outcome in outcomes if isinstance(outcome, str)]
    (told,) = (str(outcome) for outcome in outcomes if isinstance(outcome, StoreConflict))
    assert store.aliases() == {"previous": versions[0], "production": winners[0]}
    assert "another promote came first" in told
    assert f"it is {winners[0]}" in told
    assert len(store.history()) == 2


def test_of_many_promotions_that_expect_the_same_exactly_one_wins(
    location: str, model: Path
) -> None:
    store = ModelStore(location)
    versions = [store.publish(model, notes=str(n)).version for n in range(7)]
    store.promote(versions[0], reason="first")

    def promote(version: str) -> bool:
        try:
            ModelStore(location).promote(version, reason="race", expected_current=versions[0])
        except StoreConflict:
            return False
        return True

    with ThreadPoolExecutor(6) as racers:
        outcomes = list(racers.map(promote, versions[1:]))
    assert outcomes.count(True) == 1
    assert store.aliases() == {
        "previous": versions[0],
        "production": versions[1 + outcomes.index(True)],
    }


def test_moves_of_different_aliases_at_once_all_succeed(location: str, model: Path) -> None:
    store = ModelStore(location)
    version = store.publish(model).version
    names = [f"team-{number}" for number in range(6)]
    with ThreadPoolExecutor(7) as racers:
        moves = [racers.submit(store.promote, version, reason="first")]
        moves += [racers.submit(store.set_alias, name, version, reason=name) for name in names]
        for move in moves:
            move.result()
    assert store.aliases() == dict.fromkeys(["production", *names], version)
    assert [move.number for move in store.history()] == list(range(1, 8))


def test_processes_that_promote_at_once_leave_one_winner(tmp_path: Path, model: Path) -> None:
    store = ModelStore(tmp_path / "store")
    versions = [store.publish(model, notes=str(n)).version for n in range(4)]
    store.promote(versions[0], reason="first")
    script = (
        "import sys, time; from pipelines.models import main\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "sys.exit(main(['promote', sys.argv[1], sys.argv[2], '--reason', 'race', "
        "'--expected_current', sys.argv[3]]))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, store.location, version, versions[0]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for version in versions[1:]
    ]
    for racer in racers:
        assert racer.stdout is not None
        racer.stdout.readline()
    ended = [racer.communicate("\n", timeout=30) for racer in racers]
    codes = [racer.returncode for racer in racers]
    assert sorted(codes) == [0, 1, 1], ended
    assert store.aliases()["production"] == versions[1 + codes.index(0)]
    assert all(
        error.startswith("error: ") and error.count("\n") == 1 for _, error in ended if error
    )


def test_jobs_that_publish_at_once_get_versions_of_their_own(location: str, model: Path) -> None:
    with ThreadPoolExecutor(4) as publishers:
        made = list(
            publishers.map(lambda n: ModelStore(location).publish(model, notes=str(n)), range(4))
        )
    store = ModelStore(location)
    assert {record.version for record in store.versions()} == {record.version for record in made}
    for record in made:
        store.verify(record)


def test_readers_see_a_whole_table_while_aliases_move(tmp_path: Path, model: Path) -> None:
    store = ModelStore(tmp_path)
    one, two = (store.publish(model, notes=str(n)).version for n in range(2))
    store.promote(one, reason="0")
    store.promote(two, reason="1")
    seen: set[tuple[tuple[str, str], ...]] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(tuple(store.aliases().items()))
            time.sleep(0.001)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        store.rollback(reason=str(number))
    stop.set()
    reader.join()
    assert seen <= {
        (("previous", one), ("production", two)),
        (("previous", two), ("production", one)),
    }
