"""Templates, which combine the columns of a record into the text that is embedded."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ..errors import RecordError
from .types import column_texts


class Template:
    """A pattern such as ``'Title: {Summary}; Content: {Text}'``. Each field is the name of a column and nothing else.

    Attributes:
        columns: Names of the columns, in the order of the pattern.

    >>> Template("{a} and {b}").fill({"a": 1, "b": None})
    '1 and '

    Raises:
        RecordError: The pattern is malformed or contains no column.
    """

    def __init__(self, pattern: str) -> None:
        try:
            self._pieces = [
                (literal, None if name is None else _column_name(name, spec, conversion))
                for literal, name, spec, conversion in string.Formatter().parse(pattern)
            ]
        except ValueError as error:
            raise RecordError(f"The template {pattern!r} is wrong: {error}. Write {{{{ for a brace.") from error
        self.columns = [name for _, name in self._pieces if name is not None]
        if not self.columns:
            raise RecordError(f"The template {pattern!r} names no column; write it like 'Title: {{Summary}}'.")

    @classmethod
    def of_column(cls, name: str) -> Template:
        """Return the template that embeds one column, whatever characters its name contains."""
        template = cls("{text}")
        template._pieces, template.columns = [("", name)], [name]
        return template

    def check(self, columns: Iterable[str]) -> None:
        """Raise RecordError unless every column of the template exists."""
        existing = list(columns)
        for name in self.columns:
            if name not in existing:
                raise RecordError(f"There is no column {name!r}; the columns are {', '.join(existing)}.")

    def texts(self, batch: pa.RecordBatch | pa.Table, *, first_row: int = 1, name: str = "the table") -> list[str]:
        """Return the text of every row. A null becomes an empty string; a list of texts is joined with commas.

        Args:
            batch: The rows.
            first_row: Number of the first row, for messages.
            name: Name of the file, for messages.

        Raises:
            RecordError: A column is missing, or its values are not text; the message names column and row.
        """
        self.check(batch.schema.names)
        values: dict[str, Sequence[str | None]] = {}
        for column in dict.fromkeys(self.columns):
            values[column] = column_texts(batch.column(column), column, first_row=first_row, name=name)
        return self.join(values, len(batch))

    def join(self, values: Mapping[str, Sequence[str | None]], n_rows: int) -> list[str]:
        """Return the texts of ``n_rows`` rows whose values are texts already."""
        if len(self._pieces) == 1 and not self._pieces[0][0]:
            return [value or "" for value in values[self.columns[0]]]
        pieces = [(literal, None if name is None else values[name]) for literal, name in self._pieces]
        return [
            "".join(literal + ("" if column is None else column[row] or "") for literal, column in pieces)
            for row in range(n_rows)
        ]

    def fill(self, record: Mapping[str, Any]) -> str:
        """Return the text of one record. A null becomes an empty string."""
        self.check(record)
        return self.texts(pa.Table.from_pylist([{name: record[name] for name in self.columns}]))[0]


def _column_name(name: str, spec: str | None, conversion: str | None) -> str:
    # A colon or an exclamation mark belongs to the column's name: values are never formatted.
    return name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")


def resolve_template(columns: Iterable[str], pattern: str | None) -> Template:
    """Return the requested template, or by default the template of the column ``text``.

    Raises:
        RecordError: A column is missing, or there is neither a template nor a column ``text``.
    """
    existing = list(columns)
    if pattern is None and "text" not in existing:
        example = next(
            (name for name in existing if not name.startswith("column_")), existing[0] if existing else "Text"
        )
        raise RecordError(
            f"Say what to embed: -t '{{{example}}}', for example. There is no column 'text'; the columns are "
            f"{', '.join(existing)}."
        )
    template = Template("{text}" if pattern is None else pattern)
    template.check(existing)
    return template
