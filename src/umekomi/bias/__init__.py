"""Tests and reports of social bias in embeddings."""
