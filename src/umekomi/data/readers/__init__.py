"""Readers for files of records, one module per format. :func:`umekomi.data.records.open_records` selects one."""
