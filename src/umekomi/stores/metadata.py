"""What every engine keeps beside a collection: the space of its vectors, the columns of its records, how it was made.

It is one JSON text. Where an engine has a place for it (a table's comment, a collection's description) it is there; else it is a
key or a point of its own. An engine whose types are fewer than ours gets its columns' kinds back from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa

from ..data.records import Space
from ..errors import CollectionNotFoundError
from .columns import TYPES, Kind, kinds_of
from .url import Options, options_of

_MARK = "umekomi"


@dataclass(frozen=True, slots=True)
class Note:
    """A collection's note; ``columns`` are those of a record, in order."""

    space: Space
    columns: Mapping[str, Kind] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    def dump(self) -> str:
        """As JSON text."""
        columns = [[name, kind.name] for name, kind in self.columns.items()]
        note = {_MARK: 1, "space": asdict(self.space), "columns": columns, "options": self.options.given()}
        return json.dumps(note, ensure_ascii=False)

    def schema(self) -> pa.Schema:
        """The columns as Arrow has them."""
        return pa.schema([(name, TYPES[kind]) for name, kind in self.columns.items()])


def read_note(text: str | bytes | None, url: str) -> Note:
    """The reverse of :meth:`Note.dump`.

    Raises:
        CollectionNotFoundError: what is there was not made by Umekomi.
    """
    try:
        data = json.loads(text or "")
        columns = {name: Kind[kind] for name, kind in data["columns"]}
        return Note(Space(**data["space"]), columns, options_of(data["options"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CollectionNotFoundError(
            f"{url} was not made by Umekomi: it does not say which model its vectors are of. Load into another name."
        ) from error


def columns_of(records: pa.Table) -> dict[str, Kind]:
    """The columns of a first batch."""
    return kinds_of(records.schema)
