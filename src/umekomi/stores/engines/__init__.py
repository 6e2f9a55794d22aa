"""One module per vector database. :mod:`umekomi.stores` has the table of their URL schemes."""
