"""Tables of records: reading them, and files that contain embeddings."""
