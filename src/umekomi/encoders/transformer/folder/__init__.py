"""Model folders in the format of sentence-transformers: their files, settings and modules."""
