"""Commands that manage and evaluate models."""
