"""Templates: the text that is embedded for a record, made of its columns."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ...errors import RecordError
from .columns import column_texts


class Template:
    """Makes one text of a record, as ``'Title: {Summary}; Content: {Text}'``. A field is a column's name, nothing else.

    >>> Template("{a} and {b}").fill({"a": 1, "b": None})
    '1 and '
    """

    def __init__(self, pattern: str) -> None:
        try:
            pieces = [
                (literal, None if name is None else self._field(pattern, name, spec, conversion))
                for literal, name, spec, conversion in string.Formatter().parse(pattern)
            ]
        except ValueError as error:
            raise RecordError(f"The template {pattern!r} is wrong: {error}. Write {{{{ for a brace.") from error
        self._pieces = pieces
        self.columns = [name for _, name in self._pieces if name is not None]
        if not self.columns:
            raise RecordError(f"The template {pattern!r} names no column; write it like 'Title: {{Summary}}'.")

    @classmethod
    def of_column(cls, name: str) -> Template:
        """The template that embeds one column, whatever characters its name holds."""
        template = cls("{text}")
        template._pieces, template.columns = [("", name)], [name]
        return template

    @staticmethod
    def _field(pattern: str, name: str, spec: str | None, conversion: str | None) -> str:
        # A colon or an exclamation mark belongs to the column's name: values are never formatted.
        return name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")

    def check(self, columns: Iterable[str]) -> None:
        """Raise RecordError unless every column that the template names is there."""
        there = list(columns)
        for name in self.columns:
            if name not in there:
                raise RecordError(f"There is no column {name!r}; the columns are {', '.join(there)}.")

    def texts(self, batch: pa.RecordBatch | pa.Table, *, first_row: int = 1, name: str = "the table") -> list[str]:
        """The text of every row. A null is an empty string; a list of texts is joined with commas.

        Args:
            batch: The rows.
            first_row: Number of the first row, for messages.
            name: Name of the file, for messages.

        Raises:
            RecordError: A column is missing, or holds what is not text; the message names column and row.
        """
        self.check(batch.schema.names)
        values: dict[str, Sequence[str | None]] = {}
        for column in dict.fromkeys(self.columns):
            values[column] = column_texts(batch.column(column), column, first_row=first_row, name=name)
        return self.join(values, len(batch))

    def join(self, values: Mapping[str, Sequence[str | None]], n_rows: int) -> list[str]:
        """The texts of ``n_rows`` rows whose values are texts already."""
        if len(self._pieces) == 1 and not self._pieces[0][0] and self._pieces[0][1] is not None:
            return [value or "" for value in values[self._pieces[0][1]]]
        pieces = [(literal, None if name is None else values[name]) for literal, name in self._pieces]
        return [
            "".join(literal + ("" if column is None else column[row] or "") for literal, column in pieces)
            for row in range(n_rows)
        ]

    def fill(self, record: Mapping[str, Any]) -> str:
        """The text of one record; a null is an empty string."""
        self.check(record)
        return self.texts(pa.Table.from_pylist([{name: record[name] for name in self.columns}]))[0]


def template_for(columns: Iterable[str], pattern: str | None) -> Template:
    """The requested template, or else the column ``text``.

    Raises:
        RecordError: A column is missing, or there is neither a template nor a column ``text``.
    """
    there = list(columns)
    if pattern is None and "text" not in there:
        shown = next((name for name in there if not name.startswith("column_")), there[0] if there else "Text")
        raise RecordError(
            f"Say what to embed: -t '{{{shown}}}', for example. There is no column 'text'; the columns are {', '.join(there)}."
        )
    template = Template("{text}" if pattern is None else pattern)
    template.check(there)
    return template
