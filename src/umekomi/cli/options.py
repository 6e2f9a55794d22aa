"""What the commands on embedded files share: reading rows, writing them with new columns, saying whose vectors they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ..data.records import PARQUET_SUFFIXES
from ..data.table import EmbeddedTable
from ..errors import InputError, RecordError
from ..evaluation.metrics import Estimate
from ..files.outputs import atomic_write, require_suffix
from .output import note
from .outputs import TABLE_SUFFIXES

embedded_argument = click.argument("embedded", metavar="EMBEDDED", type=click.Path(path_type=Path, dir_okay=False))
json_option = click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
seed_option = click.option("--seed", default=42, show_default=True, help="Of everything random.")


def labelled(table: EmbeddedTable, column: str) -> tuple[EmbeddedTable, list[Any]]:
    """The rows whose column is filled, and its values; what is left out is told."""
    values = table.column(column)
    kept = [row for row, value in enumerate(values) if value is not None and value == value]
    if not kept:
        raise RecordError(f"The column {column!r} is empty in every row.")
    if len(kept) < len(values):
        note(f"{len(values) - len(kept):,} rows have no {column} and are left out.")
    some = EmbeddedTable(table.vectors[kept], table.records.take(pa.array(kept)), table.space)
    return some, [values[row] for row in kept]


def write_rows(table: EmbeddedTable, added: Mapping[str, Sequence[Any]], path: Path) -> None:
    """The records with new columns, as Parquet, CSV or JSON Lines by the file's name."""
    records = table.records
    for name, values in added.items():
        if name in records.column_names:
            records = records.drop_columns([name])
        records = records.append_column(name, pa.array(list(values)))
    require_suffix(path, TABLE_SUFFIXES)
    suffix = path.suffix.lower()
    try:
        with atomic_write(path) as temporary:
            if suffix in PARQUET_SUFFIXES:
                pq.write_table(records, temporary)
            elif suffix == ".csv":
                pyarrow.csv.write_csv(records, temporary)
            else:
                with temporary.open("w", encoding="utf-8") as stream:
                    for row in records.to_pylist():
                        stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    except pa.ArrowException as error:
        raise InputError(f"The rows cannot be written to {path}: {error}.") from error
    note(f"{path}: {len(records):,} rows with {', '.join(added)}.")


def share(value: Estimate) -> str:
    """A figure with its interval."""
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def plain(value: object) -> object:
    """Arrays and numbers of numpy as JSON has them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
