"""Shards: ranges of rows of one input file, each embedded to one output file by one worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..catalog import Role
from ..data.embedded_file import WRITE_OPTIONS, EmbeddedColumns, TooLong
from ..data.templates import Template, resolve_template
from ..embedder import Embedder
from ..errors import InputError, RecordError
from ..files.filesystem import atomic_stream, open_filesystem, put_text, read_json
from ..settings import Settings
from ..vectors.arrow import VectorType
from .row_digest import RowDigest
from .rows import RepeatedTextCache, RowEmbedder
from .shard_inputs import InputReader, Shard

MANIFEST = "_umekomi.json"
"""Name of the file with the model, the options and the columns of a folder of shards."""
RESULTS = "_done"
"""Name of the folder with one JSON file for each finished shard."""
REJECTED = "_rejected"
"""Name of the folder with the rows that could not be embedded."""
SHARD_ROWS = 8192
"""Default number of rows per shard. A killed worker loses at most this much work."""
MAX_TEXT_BYTES = 4 * 2**20
"""Rows with a longer text are rejected without counting their tokens."""
CACHE_BYTES = 64 * 2**20
"""Default size of the vectors that a worker caches for repeated texts."""


@dataclass(frozen=True, slots=True)
class ShardJob:
    """The options that all shards of a run share. They are sent to every worker."""

    #: Path or URL of the output folder.
    output: str
    model: str
    #: Template of the embedded texts; None stands for the column ``text``.
    template: str | None = None
    role: str | None = None
    too_long: TooLong = TooLong.FAIL
    #: Maximum number of rows per shard.
    shard_rows: int = SHARD_ROWS
    #: Size of the vectors that each worker caches.
    cache_bytes: int = CACHE_BYTES
    #: Type of the vectors in the shards.
    vectors: VectorType = VectorType.FLOAT32


@dataclass(frozen=True, slots=True)
class ShardSchemas:
    """The columns of a run."""

    #: Schema to which every input is cast.
    inputs: pa.Schema
    #: Columns of the shards.
    columns: EmbeddedColumns

    def to_json(self) -> dict[str, object]:
        """Return the schemas as part of the manifest of a folder."""
        schemas = {"input_schema": self.inputs, "schema": self.columns.schema}
        encoded = {name: base64.b64encode(schema.serialize().to_pybytes()).decode() for name, schema in schemas.items()}
        return {**encoded, "inputs": dict(self.columns.inputs)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ShardSchemas:
        """Read the schemas from a manifest.

        Raises:
            RecordError: The manifest is damaged.
        """
        try:
            inputs, output = (
                pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value[name]))) for name in ("input_schema", "schema")
            )
            return ShardSchemas(inputs, EmbeddedColumns(output, dict(value["inputs"])))
        except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as error:
            raise RecordError("The manifest of the shards is damaged. Start again with --overwrite.") from error


@dataclass(frozen=True, slots=True)
class ShardResult:
    """A finished shard, as stored in its manifest entry."""

    shard: Shard
    #: Number of rows of the output.
    rows: int
    #: Number of tokens of these rows.
    tokens: int
    #: Number of rows that could not be embedded.
    rejected: int
    #: Number of texts whose vector was copied from an equal text.
    repeated: int
    #: Digest of the rows of the input.
    digest: str = ""

    @property
    def name(self) -> str:
        """Name of the shard without its suffix."""
        return self.shard.name


class ShardWorker:
    """Embeds shards, one after another. Every process of a run has its own worker.

    Args:
        job: Options that the shards share.
        settings: Settings for loading the model; by default those of the environment.
        embedder: Embedder of the job's model; by default the model is loaded.
        schemas: Columns of the run; by default those in the manifest of the job's output.
        reader: Reader of the inputs.
    """

    def __init__(
        self,
        job: ShardJob,
        *,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        schemas: ShardSchemas | None = None,
        reader: InputReader | None = None,
    ) -> None:
        self._job = job
        self._schemas = schemas
        self._embedder = embedder or Embedder(job.model, settings=settings)
        self._reader = reader or InputReader()
        self._system, self._folder = open_filesystem(job.output)
        self._cache = RepeatedTextCache(job.cache_bytes // (4 * self._embedder.dims))

    def __call__(self, shard: Shard) -> ShardResult:
        """Embed a shard. Write the shard, then its rejected rows, and last its manifest entry."""
        if self._schemas is None:
            self._schemas = ShardSchemas.from_json(read_json(self._system, f"{self._folder}/{MANIFEST}") or {})
        columns = self._schemas.columns
        template = resolve_template(self._schemas.inputs.names, self._job.template)
        role = Role(self._job.role) if self._job.role else None
        embedder = RowEmbedder(self._embedder, columns, role, self._job.too_long, self._job.vectors)
        self._cache.n_repeated = 0
        n_rows = n_tokens = 0
        rejected: list[dict[str, object]] = []
        digest = RowDigest()
        with (
            atomic_stream(self._system, f"{self._folder}/{shard.name}.parquet") as stream,
            pq.ParquetWriter(stream, columns.schema, **WRITE_OPTIONS) as writer,
        ):
            for first_row, batch in self._reader.read(shard, self._schemas.inputs):

                def reject(row: int, error: InputError, first_row: int = first_row) -> None:
                    rejected.append({"row": first_row + row, "reason": str(error)})

                digest.update(batch)
                texts = _texts(template, batch, first_row, shard.source)
                table = embedder.embed(batch, texts, reject, cache=self._cache)
                if len(table):
                    writer.write_table(table)
                n_rows += len(table)
                n_tokens += sum(table["n_tokens"].to_pylist())
        rejected_path = f"{self._folder}/{REJECTED}/{shard.name}.jsonl"
        if rejected:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rejected)
            put_text(self._system, rejected_path, "".join(lines))
        else:
            with suppress(FileNotFoundError):
                self._system.delete_file(rejected_path)
        result = ShardResult(shard, n_rows, n_tokens, len(rejected), self._cache.n_repeated, digest.hexdigest())
        put_text(self._system, f"{self._folder}/{RESULTS}/{shard.name}.json", json.dumps(asdict(result)))
        return result


def _texts(template: Template, batch: pa.RecordBatch, first_row: int, source: str) -> Iterator[str | InputError]:
    """Yield the text of every row, or the error that its values are too large, not text, or not UTF-8."""
    for row in range(len(batch)):
        try:
            yield _text(template, batch.slice(row, 1), first_row + row, source)
        except InputError as error:
            yield error


def _text(template: Template, row: pa.RecordBatch, number: int, source: str) -> str:
    for name in template.columns:
        column = row.column(name)
        if (pa.types.is_string(column.type) or pa.types.is_binary(column.type)) and column[0].is_valid:
            size = column[0].as_buffer().size
            if size > MAX_TEXT_BYTES:
                raise InputError(f"The column {name!r} has {size:,} bytes; the maximum is {MAX_TEXT_BYTES:,}.")
    text = template.texts(row, first_row=number, name=source)[0]
    if len(text) > MAX_TEXT_BYTES:
        raise InputError(f"The text has {len(text):,} characters; the maximum is {MAX_TEXT_BYTES:,}.")
    return text
