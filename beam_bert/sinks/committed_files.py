"""What an output holds already: the manifests of all its runs, read as one.

An incremental run reads only the files that are not counted as done, and its commit takes
the older rows of those files out of the table. Nothing is remembered beside the manifests: where a
shard has gone (another run's --overwrite, a person), the files in it are simply not done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from beam_bert.errors import OutputError
from beam_bert.sinks.manifest import Manifest, OutputFile, parse_manifest
from beam_bert.sinks.records import SourceFile
from beam_bert.sinks.run import TABLES, manifest_path
from beam_bert.slices.plan import FileEntry
from beam_bert.storage import Storage, in_parallel, open_storage


@dataclass
class _Done:
    """The latest reading of a file, and where its rows are."""

    file: SourceFile
    answers_digest: str
    shards: set[str]


@dataclass(frozen=True)
class CommittedFiles:
    """The committed runs of an output.

    Attributes:
      runs: their ids, sorted.
      shards: the files in the tables, by path.
    """

    runs: tuple[str, ...] = ()
    shards: dict[str, OutputFile] = field(default_factory=dict)
    _done: dict[str, _Done] = field(default_factory=dict)

    def pending(self, files: Iterable[FileEntry], answers_digest: str) -> list[FileEntry]:
        """The files that are new, have changed, or were read with another model or settings."""
        return [file for file in files if not self._is_done(file, answers_digest)]

    def _is_done(self, file: FileEntry, answers_digest: str) -> bool:
        done = self._done.get(file.path)
        return (
            done is not None
            and done.answers_digest == answers_digest
            and (done.file.size, done.file.version) == (file.size, file.version)
            and file.version != ""
            and all(path in self.shards for path in done.shards)
        )

    def holding(self, sources: Collection[str]) -> list[OutputFile]:
        """The files in the tables that hold rows of any of `sources`, by path."""
        wanted = set(sources)
        return [file for file in self.shards.values() if not wanted.isdisjoint(file.sources)]


# Without rows, and of no run: BigQuery wants a file before the first night is committed
# (terraform/modules/warehouse puts it there).
PLACEHOLDER = "placeholder.parquet"


def read_committed_files(output: str) -> CommittedFiles:
    """Read every manifest of an output, and look which of their files are still there.

    Raises:
      OutputError: the tables hold files of no committed run: their rows might come twice.
    """
    storage = open_storage(output)
    runs = committed_runs(storage)
    paths = [manifest_path(run) for run in runs]
    read = in_parallel(storage.read, paths, storage.parallelism)
    manifests = [
        parse_manifest(data, run, storage.uri(path))
        for run, path, data in zip(runs, paths, read, strict=True)
        if data is not None
    ]
    manifests.sort(key=lambda manifest: (manifest.committed_at, manifest.run_id))
    known: dict[str, OutputFile] = {}
    done: dict[str, _Done] = {}
    for manifest in manifests:
        _enter(manifest, known, done)
    there = [
        file.path
        for table in TABLES
        for file in storage.list_files(table)
        if file.name.endswith(".parquet") and file.name != PLACEHOLDER
    ]
    strange = [path for path in there if path not in known]
    if strange:
        raise OutputError(
            f"{storage.uri(strange[0])} ({len(strange)} such) is in no manifest of "
            f"{storage.uri('runs')}, so its rows might come twice; wait if another run is "
            "committing just now, else remove it or bring its manifest back"
        )
    return CommittedFiles(tuple(runs), {path: known[path] for path in sorted(there)}, done)


def committed_runs(storage: Storage) -> list[str]:
    """Ids of the runs that have a manifest, sorted."""
    paths = [file.path.split("/") for file in storage.list_files("runs")]
    return sorted(path[1] for path in paths if path[2:] == ["manifest.json"])


def _enter(manifest: Manifest, known: dict[str, OutputFile], done: dict[str, _Done]) -> None:
    for each in manifest.replaced:
        for source in known[each.path].sources if each.path in known else ():
            if source in done:
                done[source].shards.discard(each.path)
                if each.kept is not None and source in each.kept.sources:
                    done[source].shards.add(each.kept.path)
        if each.kept is not None:
            known[each.kept.path] = each.kept
    for file in manifest.inputs:
        done[file.path] = _Done(file, manifest.answers_digest, set())
    for output in (*manifest.outputs, *manifest.rejects):
        known[output.path] = output
        for source in output.sources:
            if source in done:
                done[source].shards.add(output.path)
