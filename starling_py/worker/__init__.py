"""A worker process: task specs in, task reports out."""
