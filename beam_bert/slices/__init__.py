"""What flows through the pipeline: slices, their batches and schemas."""
