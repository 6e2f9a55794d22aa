"""Transformer encoders: checkpoints, tokenization, batching and backends."""
