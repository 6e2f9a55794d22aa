"""Index the source files of a project and search them by meaning."""
