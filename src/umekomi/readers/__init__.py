"""Readers for files of records, one module per format. :func:`umekomi.records.open_records` selects one."""
