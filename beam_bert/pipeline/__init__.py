"""The way of a slice as PTransforms, one a file, in the order in which a slice passes them.

    read            ReadDocuments: patterns -> SliceBatches with document rows
    predict         Predict: tokenize, RunInference, decode; what classify and answer share
    classify        Classify: document rows -> rows with labels and scores
    answer          Answer: document rows -> rows with answers
    write           WriteShards: prediction rows -> one ShardRecord a slice
    commit          CommitRun: all ShardRecords -> the published dataset and its Manifest
    classify_text   ClassifyText: rows in, the same rows with answers out, in other pipelines

ReadDocuments and Classify also stand in pipelines of others, where `batch.rows` is an Arrow
RecordBatch:

    p | ReadDocuments("in/*.jsonl") | Classify("MODEL") | beam.FlatMap(lambda b: b.rows.to_pylist())
"""
