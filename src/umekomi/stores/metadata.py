"""Metadata that every engine stores with a collection: the space of its vectors, its record columns and its options.

The metadata is one JSON text. It is stored where the engine has a suitable field (a table comment, a collection
description), or else under a separate key or row. Engines that have fewer column types than Umekomi restore the types
from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from ..data.embedded_file import Space
from ..errors import CollectionNotFoundError
from .columns import ARROW_TYPES, ColumnType
from .url import StoreOptions

_VERSION_KEY = "umekomi"


@dataclass(frozen=True, slots=True)
class CollectionMetadata:
    """The metadata of a collection."""

    #: Embedding space of the vectors.
    space: Space
    #: Record columns in order.
    columns: Mapping[str, ColumnType] = field(default_factory=dict)
    #: Options that the collection was created with.
    options: StoreOptions = field(default_factory=StoreOptions)

    def to_json(self) -> str:
        """Return the metadata as JSON text."""
        columns = [[name, column_type.name] for name, column_type in self.columns.items()]
        data = {
            _VERSION_KEY: 1,
            "space": self.space.to_dict(),
            "columns": columns,
            "options": self.options.to_dict(),
        }
        return json.dumps(data, ensure_ascii=False)

    def schema(self) -> pa.Schema:
        """Return the record columns as an Arrow schema."""
        return pa.schema([(name, ARROW_TYPES[column_type]) for name, column_type in self.columns.items()])


def parse_metadata(text: str | bytes | None, url: str) -> CollectionMetadata:
    """Parse the text that :meth:`CollectionMetadata.to_json` returned.

    Raises:
        CollectionNotFoundError: The text is not metadata of Umekomi, so another program created the collection.
    """
    try:
        data = json.loads(text or "")
        columns = {name: ColumnType[type_name] for name, type_name in data["columns"]}
        return CollectionMetadata(Space.from_dict(data["space"]), columns, StoreOptions.from_dict(data["options"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CollectionNotFoundError(
            f"{url} was not created by Umekomi: it has no metadata about the model of its vectors. "
            "Use another collection name."
        ) from error


def is_metadata(text: str | None) -> bool:
    """Return whether a description of a collection looks like the metadata of Umekomi."""
    return (text or "").startswith(f'{{"{_VERSION_KEY}"')
