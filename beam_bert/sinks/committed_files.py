"""What an output holds already: the manifests of all its runs, read as one.

An incremental run reads only the files that are not counted as done, and its commit takes
the older rows of those files out of the table. Nothing is remembered beside the manifests: where a
shard has gone (another run's --overwrite, a person), the files in it are simply not done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from beam_bert.errors import OutputError
from beam_bert.sinks.manifest import Manifest, OutputFile, manifest_of
from beam_bert.sinks.records import SourceFile
from beam_bert.sinks.run import TABLES
from beam_bert.slices.plan import FileEntry
from beam_bert.storage.base import Storage, in_parallel
from beam_bert.storage.paths import resolved
from beam_bert.storage.places import open_storage


@dataclass
class _Done:
    """The latest reading of a file, and where its rows are."""

    file: SourceFile
    answers_digest: str
    shards: set[str]


@dataclass
class CommittedFiles:
    """The committed runs of an output.

    Attributes:
      shards: the files in the tables, by path.
      done: each input file by its one name.
      names: of each file that was ever in the tables, by path, the one name of each source, which
        its rows call as it was written.
    """

    shards: dict[str, OutputFile] = field(default_factory=dict)
    done: dict[str, _Done] = field(default_factory=dict)
    names: dict[str, dict[str, str]] = field(default_factory=dict)

    def enter(self, manifest: Manifest) -> None:
        """Go on to the next manifest, in the order of their commits."""
        for file_replaced in manifest.replaced:
            names = self.names.get(file_replaced.path, {})
            for name in names.values():
                if name in self.done:
                    self.done[name].shards.discard(file_replaced.path)
            kept = file_replaced.kept
            if kept is not None:
                self._add(kept, {**self.names.get(kept.path, {}), **names})
        for file in manifest.inputs:
            self.done[file.resolved] = _Done(file, manifest.answers_digest, set())
        names = {file.path: file.resolved for file in manifest.inputs}
        for output in (*manifest.outputs, *manifest.rejects):
            self._add(output, names)

    def _add(self, shard: OutputFile, names: Mapping[str, str]) -> None:
        self.shards[shard.path] = shard
        self.names[shard.path] = {source: names.get(source, source) for source in shard.sources}
        for name in self.names[shard.path].values():
            if name in self.done:
                self.done[name].shards.add(shard.path)

    def pending(self, files: Iterable[FileEntry], answers_digest: str) -> list[FileEntry]:
        """The files that are new, have changed, or were read with another model or settings."""
        return [file for file in files if not self._is_done(file, answers_digest)]

    def _is_done(self, file: FileEntry, answers_digest: str) -> bool:
        done = self.done.get(file.identity or resolved(file.path))
        return (
            done is not None
            and done.answers_digest == answers_digest
            and (done.file.size, done.file.version) == (file.size, file.version)
            and file.version != ""
            and all(path in self.shards for path in done.shards)
        )

    def holding(self, files: Iterable[SourceFile]) -> list[tuple[OutputFile, set[str]]]:
        """The files in the tables that hold rows of `files`, by path, and these rows' sources.

        The sources are as their rows name them: a file may have been reached by another path.
        """
        wanted = {file.resolved for file in files}
        shards = []
        for path, shard in self.shards.items():
            names = self.names[path]
            if sources := {source for source, name in names.items() if name in wanted}:
                shards.append((shard, sources))
        return shards


# Without rows, and of no run: BigQuery wants a file before the first night is committed
# (terraform/modules/warehouse puts it there).
PLACEHOLDER = "placeholder.parquet"


def read_committed_files(output: str) -> CommittedFiles:
    """Read every manifest of an output, and look which of their files are still there.

    Raises:
      OutputError: the tables hold files of no committed run: their rows might come twice.
    """
    storage = open_storage(output)
    known = CommittedFiles()
    for manifest in read_manifests(storage):
        known.enter(manifest)
    there = [
        file.path
        for table in TABLES
        for file in storage.list_files(table)
        if file.name.endswith(".parquet") and file.name != PLACEHOLDER
    ]
    strange = [path for path in there if path not in known.shards]
    if strange:
        raise OutputError(
            f"{storage.uri(strange[0])} ({len(strange)} such) is in no manifest of "
            f"{storage.uri('runs')}, so its rows might come twice; wait if another run is "
            "committing just now, else remove it or bring its manifest back"
        )
    known.shards = {path: known.shards[path] for path in sorted(there)}
    return known


def read_manifests(storage: Storage) -> list[Manifest]:
    """The manifests of all runs of an output, in the order of their commits."""
    read = in_parallel(
        lambda run: manifest_of(storage, run), committed_runs(storage), storage.parallelism
    )
    manifests = [manifest for manifest in read if manifest is not None]
    return sorted(manifests, key=lambda manifest: (manifest.committed_at, manifest.run_id))


def committed_runs(storage: Storage) -> list[str]:
    """Ids of the runs that have a manifest, sorted."""
    paths = [file.path.split("/") for file in storage.list_files("runs")]
    return sorted(path[1] for path in paths if path[2:] == ["manifest.json"])
