"""Options and helpers that several commands share.

Output files are checked before a command starts and locked while it runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..catalog import DEFAULT_MODEL
from ..embedder import Embedder
from ..encoders.model_ids import require_model
from ..errors import InputError, RecordError, SpaceMismatchError
from ..files.outputs import PARQUET_SUFFIXES, atomic_write, locked_output, require_suffix, resolve_output
from ..progress import Progress
from ..reranker import Reranker
from ..sparse_embedder import SparseEmbedder
from .output import TransferBar, echo_err, progress_bar
from .status_line import status_line

if TYPE_CHECKING:
    from ..data.table import EmbeddedTable

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")

FILE = click.Path(path_type=Path, dir_okay=False)
PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)
TABLE_SUFFIXES = (*PARQUET_SUFFIXES, ".csv", ".jsonl", ".ndjson")
PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
PAGE_SUFFIXES = (".html",)

embedded_argument = click.argument("embedded", metavar="INPUT", type=FILE)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress bar.")
seed_option = click.option("--seed", default=42, show_default=True, help="Seed of the random number generator.")


class ModelName(click.ParamType[str]):
    """Id of a model. It is checked when the command line is parsed, before anything is read or loaded.

    Args:
        others: Names that are accepted although they are not models.
    """

    name = "model"

    def __init__(self, *others: str) -> None:
        self._others = others

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value if value in self._others else require_model(value)


model_option = click.option(
    "-m",
    "--model",
    metavar="MODEL",
    type=ModelName(),
    default=DEFAULT_MODEL,
    show_default=True,
    help="Model to use; see `umekomi models list`.",
)
query_model_option = click.option(
    "-m",
    "--model",
    metavar="MODEL",
    type=ModelName(),
    help="Model of the queries or labels. Default: the model of the vectors.",
)
template_option = click.option(
    "-t", "--template", help="Text to embed, such as 'Title: {Summary}'. Default: the column 'text'."
)
tests_option = click.option(
    "--tests", metavar="NAMES", help="Run these tests, for example weat1,weat6. Default: all; see docs/limits.md."
)
columns_option = click.option(
    "--columns", metavar="NAMES", help="Show these columns next to the text, for example title,label."
)


def create_models_option(*baselines: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the option for the models to measure. Baselines are accepted beside models."""
    return click.option(
        "-m",
        "--model",
        "models",
        metavar="MODEL",
        type=ModelName(*baselines),
        multiple=True,
        default=[DEFAULT_MODEL],
        show_default=True,
        help="Model to measure. Repeatable.",
    )


models_option = create_models_option()


def choice(options: type[StrEnum]) -> click.Choice[str]:
    """Return the option type whose values are those of an enumeration."""
    return click.Choice([option.value for option in options])


def integer_option(
    *names: str, minimum: int, maximum: int | None = None, **attributes: Any
) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for an integer. Its default is shown in the help text.

    Args:
        names: As for ``click.option``.
        minimum: Smallest accepted value.
        maximum: Largest accepted value.
        attributes: As for ``click.option``.
    """
    return click.option(*names, type=click.IntRange(minimum, maximum), show_default=True, **attributes)


def port_option(*, default: int) -> Callable[[Command], Command]:
    """Return a decorator that adds the option ``--port``."""
    return integer_option(
        "--port", minimum=0, maximum=65535, default=default, help="Port to listen on. 0 selects a free one."
    )


def option_group(group: type[Any], *options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Decorate a command with options that it receives as one dataclass, in the parameter ``options``.

    Args:
        group: Dataclass with one field per option.
        options: Decorators of the options, in the order of the help text.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**values: Any) -> Any:
            return command(options=group(**{field.name: values.pop(field.name) for field in fields(group)}), **values)

        for option in reversed(options):
            run = option(run)
        return run  # type: ignore[return-value]

    return decorate


class _OutputFile(click.ParamType[Path]):
    name = "file"

    def __init__(self, suffixes: Collection[str]) -> None:
        self._suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        resolve_output(path)
        if self._suffixes:
            require_suffix(path, self._suffixes)
        return path


def output_option(*names: str, suffixes: Collection[str] = (), **attributes: Any) -> Callable[[Command], Command]:
    """Decorate a command with an option for an output file, whose lock is held while the command runs.

    The command fails with an InputError if no file can be written there or if the output is also an input.

    Args:
        names: As for ``click.option``.
        suffixes: Suffixes that the name of the file may have; none means any.
        attributes: As for ``click.option``.
    """
    option = click.option(*names, type=_OutputFile(suffixes), **attributes)
    parameter = click.Option(names).name

    def decorate(command: Command) -> Command:
        @wraps(command)
        def locked(*args: Any, **values: Any) -> Any:
            value = values[parameter or ""]
            outputs: tuple[Path, ...] = value if isinstance(value, tuple) else () if value is None else (value,)
            others = [other for name, other in values.items() if name != parameter and isinstance(other, str | Path)]
            context = click.get_current_context(silent=True)
            with ExitStack() as stack:
                for output in dict.fromkeys(outputs):
                    _require_other_file(output, others)
                    stack.enter_context(locked_output(output, purpose=context.command_path if context else "umekomi"))
                return command(*args, **values)

        return option(locked)  # type: ignore[return-value]

    return decorate


table_output_option = output_option(
    "-o",
    "--output",
    metavar="OUTPUT",
    suffixes=TABLE_SUFFIXES,
    help="Write the rows to this .parquet, .csv or .jsonl file.",
)


def _require_other_file(output: Path, others: Collection[str | Path]) -> None:
    """Raise InputError if an output is also an input of the command, which would be lost."""
    for other in others:
        is_same = False
        with suppress(OSError, ValueError):  # most values of options are not file names
            is_same = os.path.samefile(output, other)
        if is_same:
            raise InputError(f"{output} is both an input and the output. Choose another name for the output.")


def load_embedder(model: str, *, name: str | None = None) -> Embedder:
    """Load a model, reporting downloads on standard error.

    Args:
        model: Model ID, folder, or ``owner/name`` on the Hugging Face hub.
        name: Name of the model for its users, by default ``model``.
    """
    with status_line.step(f"Loading {name or model}"):
        return Embedder(model, name=name, report=echo_err, transfer=TransferBar())


def load_sparse_embedder(model: str) -> SparseEmbedder:
    """Load the model of sparse vectors, reporting downloads on standard error.

    Raises:
        InputError: The model is not a sparse encoder, or Umekomi cannot run it.
    """
    with status_line.step(f"Loading {model}"):
        return SparseEmbedder(model, report=echo_err)


def load_reranker(model: str, *, name: str | None = None) -> Reranker:
    """Load a reranker, reporting downloads on standard error.

    Args:
        model: Folder, or ``owner/name`` on the Hugging Face hub.
        name: Name of the reranker for its users, by default ``model``.
    """
    with status_line.step(f"Loading {name or model}"):
        return Reranker(model, name=name, report=echo_err)


def measure_models(
    models: Sequence[str],
    n_texts: int,
    measure: Callable[[Any, Progress], Result],
    *,
    load: Callable[[str], Any] = load_embedder,
    baselines: Mapping[str, Callable[[], Result]] | None = None,
) -> Iterator[Result]:
    """Measure models one after another, with a progress bar for each, and yield the results.

    A model is released after the next one is loaded, so that the two share encoders.

    Args:
        models: Model IDs, or names of baselines.
        n_texts: Number of texts that ``measure`` embeds.
        measure: Function of a loaded model and a progress callback.
        load: Function that loads a model.
        baselines: Functions that return the result of a name that is not a model.
    """
    for name in models:
        if baselines is not None and name in baselines:
            yield baselines[name]()
            continue
        model = load(name)
        with progress_bar(name, n_texts) as advance:
            result = measure(model, advance)
        yield result


def split_names(text: str | None) -> list[str]:
    """Return the names in a comma-separated list."""
    return [name.strip() for name in text.split(",")] if text else []


def select_labeled(table: EmbeddedTable, column: str) -> tuple[EmbeddedTable, list[Any]]:
    """Return the rows that have a value in a column, and these values. The number of other rows is reported.

    Raises:
        RecordError: The column is missing or empty.
    """
    import pyarrow as pa

    values = table.column(column)
    rows = [row for row, value in enumerate(values) if value is not None and value == value]
    if not rows:
        raise RecordError(f"The column {column!r} is empty in every row. Choose another column.")
    if len(rows) < len(values):
        echo_err(f"{len(values) - len(rows):,} rows without {column} are left out.")
    selected = type(table)(table.vectors[rows], table.records.take(pa.array(rows)), table.space)
    return selected, [values[row] for row in rows]


def require_same_space(first: EmbeddedTable, second: EmbeddedTable, paths: tuple[Path, Path]) -> None:
    """Raise SpaceMismatchError unless the vectors of two files come from the same model."""
    if first.space.fingerprint != second.space.fingerprint:
        described = [
            f"{path} contains vectors of {table.space.model} ({table.space.fingerprint})"
            for path, table in zip(paths, (first, second), strict=True)
        ]
        raise SpaceMismatchError(f"{described[0]}, but {described[1]}. Embed both files with the same model.")


def write_rows(table: EmbeddedTable, columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Write the records with additional columns as Parquet, CSV or JSON Lines, depending on the suffix of the file.

    Raises:
        InputError: The file cannot be written, or its format does not support the types of the columns.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    records = table.records
    for name, values in columns.items():
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
    echo_err(f"{path}: {len(records):,} rows with {', '.join(columns)}.")
