"""The use cases: one file each, taking vectors, an embedder or a store, and giving plain data."""
