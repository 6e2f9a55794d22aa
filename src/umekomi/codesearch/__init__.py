"""Semantic search in source code: an index of the files of a project, and queries."""
