"""The filter language of ``where``: parsing, exact evaluation, and conditions that an engine can use to narrow a search."""
