"""Files and batches: routes, storage and execution."""
