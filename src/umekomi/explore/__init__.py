"""The explorer's side of the server: a set of embeddings read into memory, its map, and the views over it. No HTTP here."""
