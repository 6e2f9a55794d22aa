"""Limits: API keys, their rate limits, and the timeouts of connections."""
