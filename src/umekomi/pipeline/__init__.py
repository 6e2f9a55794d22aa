"""Embedding of whole files and of sharded data sets."""
