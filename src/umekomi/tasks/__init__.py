"""Use cases, one per file. They take vectors, an embedder or a store, and return plain data."""
