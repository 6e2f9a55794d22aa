"""Encoders that return sparse vectors: SPLADE models and BM25."""
