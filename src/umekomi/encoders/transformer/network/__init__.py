"""Networks as data: a table of architectures, their configuration, weights and structure."""
