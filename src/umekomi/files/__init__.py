"""Atomic writing, ownership of outputs, and file systems."""
