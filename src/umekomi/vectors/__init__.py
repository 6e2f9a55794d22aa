"""Arithmetic, quantization, exact and binary search, and Arrow columns of ``(n, dims) float32`` vectors."""
