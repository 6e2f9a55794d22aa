"""Scheduling: batches of texts from many requests, and work outside of the event loop."""
