"""Records: reading files and tables, templates, and the format of embedded files."""
