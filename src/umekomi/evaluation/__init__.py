"""Data sets, metrics, and the evaluation of models: retrieval, classification, code search."""
