"""Readers of record files, one module per format. All of them yield Arrow batches."""
