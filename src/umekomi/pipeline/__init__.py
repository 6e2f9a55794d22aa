"""Embedding of files and sharded data sets that do not fit into memory."""
