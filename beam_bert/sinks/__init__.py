"""Sinks: predictions become shards, shards become a committed dataset with a manifest.

A launch calls `prepare_output`; each worker `find_record` and, where there is none, `write_shard`;
the last step `commit_run`, once over all records. Paths may be local or gs://.
"""
