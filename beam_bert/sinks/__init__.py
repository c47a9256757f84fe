"""Sinks: predictions become shards, shards become a committed dataset with a manifest.

A launch calls `prepare_output`; each worker `find_record` and, where there is none, `write_shard`;
the last step `commit_run`, once over all records. Paths may be local or gs://.
"""

from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.committed_files import CommittedFiles, read_committed_files
from beam_bert.sinks.manifest import (
    Failure,
    Manifest,
    read_failure,
    read_manifest,
    write_failure,
)
from beam_bert.sinks.prepare import PreparedOutput, clean_staging, prepare_output
from beam_bert.sinks.records import (
    ShardFile,
    ShardRecord,
    SourceFile,
    find_record,
    staged_progress,
    staged_records,
)
from beam_bert.sinks.run import (
    RunSpec,
    check_partition_columns,
    failure_path,
    partition_levels,
)
from beam_bert.sinks.shards import source_files, write_shard

__all__ = [
    "CommittedFiles",
    "Failure",
    "Manifest",
    "PreparedOutput",
    "RunSpec",
    "ShardFile",
    "ShardRecord",
    "SourceFile",
    "check_partition_columns",
    "clean_staging",
    "commit_run",
    "failure_path",
    "find_record",
    "partition_levels",
    "prepare_output",
    "read_committed_files",
    "read_failure",
    "read_manifest",
    "source_files",
    "staged_progress",
    "staged_records",
    "write_failure",
    "write_shard",
]
