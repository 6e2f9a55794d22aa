"""Batching of concurrent requests: queues, cache, memory budget, worker threads."""
