"""Units of a data set: ranges of rows of one file, each embedded by one worker to one shard, or again if that one dies."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .catalog import Role
from .embedded_columns import TooLong
from .embedder import Embedder
from .errors import InputError, RecordError, TokenLimitError
from .places import open_place, whole_file, write_text
from .readers.columns import plain_schema
from .readers.parquet import plain_batch
from .readers.templates import Template, template_for
from .records import Space, embedded_schema
from .settings import Settings
from .vector_columns import VectorType, column_of
from .vectors import FloatArray

BATCH_ROWS, BATCH_BYTES = 512, 32 * 2**20
"""Rows that are read and embedded at once: fewer where rows are large."""
SHARD_ROWS = 8192
"""Rows of one unit: what a kill can cost each worker, and the rows of one file of the output."""
MAX_TEXT_BYTES = 4 * 2**20
"""A longer text is no text to embed but an accident; it goes to the dead letters unread."""
REMEMBERED_BYTES = 64 * 2**20
"""Vectors that a worker remembers, so that a text that comes again is not embedded again."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every unit of a run shares; small, and sent to each worker."""

    output: str
    model: str
    template: str | None = None
    role: str | None = None
    too_long: TooLong = TooLong.FAIL
    shard_rows: int = SHARD_ROWS
    remembered_bytes: int = REMEMBERED_BYTES
    vectors: VectorType = VectorType.FLOAT32


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows of one input. ``identity`` changes when the input does: its size and time of change."""

    source: str
    identity: str
    first_row: int
    n_rows: int

    @property
    def name(self) -> str:
        """The shard's name without its suffix: the same for the same rows of the same path, whatever the other inputs are."""
        return f"part-{hashlib.sha256(self.source.encode()).hexdigest()[:12]}-{self.first_row:012d}"


@dataclass(frozen=True, slots=True)
class Done:
    """A unit that is finished; ``dead`` rows of it could not be embedded, ``repeated`` texts were seen before."""

    unit: Unit
    rows: int
    tokens: int
    dead: int
    repeated: int


def plan_units(inputs: Sequence[str], *, shard_rows: int) -> tuple[list[Unit], pa.Schema]:
    """Cut inputs into units, and give the columns that they share. Only the files' footers are read.

    Raises:
        RecordError: an input is not a Parquet file, or has other columns than the first.
    """
    units: list[Unit] = []
    schema: pa.Schema | None = None
    for source in inputs:
        system, path = open_place(source)
        try:
            with system.open_input_file(path) as stream:
                file = pq.ParquetFile(stream)
                n_rows = file.metadata.num_rows
                found = plain_schema(file.schema_arrow.remove_metadata(), name=source)
        except (pa.ArrowInvalid, OSError) as error:
            raise RecordError(f"{source} is not a Parquet file: {error}.") from error
        if schema is not None and not found.equals(schema):
            raise RecordError(f"{source} has other columns than {inputs[0]}; embed them apart.")
        schema = found
        info = system.get_file_info(path)
        identity = f"{info.size}-{info.mtime_ns}"
        for first in range(0, n_rows, shard_rows):
            units.append(Unit(source, identity, first, min(shard_rows, n_rows - first)))
    return units, schema or pa.schema([])


class Worker:
    """Embeds units, one after another. Each process of a run has one; the model is loaded when the first unit comes.

    Args:
        job: what the units share.
        settings: where assets are; by default what the environment says.
        embedder: by default the job's model.
    """

    def __init__(self, job: Job, *, settings: Settings | None = None, embedder: Embedder | None = None) -> None:
        self._job = job
        self._embedder = embedder or Embedder(job.model, settings=settings)
        self._system, self._folder = open_place(job.output)
        room = job.remembered_bytes // (4 * self._embedder.dims)
        self._memory = _Memory(room)

    def __call__(self, unit: Unit) -> Done:
        """Embed a unit, write its shard, its dead letters and last its manifest entry."""
        self._memory.repeated = 0
        schema, template = self._read_schema(unit)
        rows = tokens = 0
        dead: list[dict[str, object]] = []
        place = f"{self._folder}/{unit.name}.parquet"
        options = {"compression": "zstd", "use_dictionary": False}
        with whole_file(self._system, place) as stream, pq.ParquetWriter(stream, schema, **options) as writer:
            for first, batch in _read(unit):
                table = self._embed(batch, first, template, schema, dead, unit.source)
                if len(table):
                    writer.write_table(table)
                rows += len(table)
                tokens += sum(table["n_tokens"].to_pylist())
        if dead:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in dead)
            write_text(self._system, f"{self._folder}/_dead/{unit.name}.jsonl", lines)
        done = Done(unit, rows, tokens, len(dead), self._memory.repeated)
        write_text(self._system, f"{self._folder}/_done/{unit.name}.json", json.dumps(asdict(done)))
        return done

    def _read_schema(self, unit: Unit) -> tuple[pa.Schema, Template]:
        system, path = open_place(unit.source)
        with system.open_input_file(path) as stream:
            found = plain_schema(pq.ParquetFile(stream).schema_arrow.remove_metadata(), name=unit.source)
        space = space_of(self._embedder, self._job.role)
        schema = embedded_schema(found, space, vectors=self._job.vectors)
        return schema, template_for(found.names, self._job.template)

    def _embed(
        self,
        batch: pa.RecordBatch,
        first: int,
        template: Template,
        schema: pa.Schema,
        dead: list[dict[str, object]],
        source: str,
    ) -> pa.Table:
        kept: list[int] = []
        texts: list[str] = []
        counts: list[int] = []
        for row in range(len(batch)):
            try:
                text = _text(template, batch, row, first + row, source)
                count = self._count(text)
            except InputError as error:
                if isinstance(error, TokenLimitError) and self._job.too_long is TooLong.TRUNCATE:
                    text = self._embedder.tokenizer.truncate(text, error.limit)
                    count = self._embedder.tokenizer.count(text)
                else:
                    dead.append({"row": first + row, "reason": str(error)})
                    continue
            kept.append(row)
            texts.append(text)
            counts.append(count)
        role = Role(self._job.role) if self._job.role else None
        vectors = self._memory.embed(
            texts, lambda some: self._embedder.embed_texts(some, role=role), self._embedder.dims
        )
        table = pa.Table.from_batches([batch]).take(pa.array(kept, pa.int64()))
        added = {
            "embedding": column_of(vectors, self._job.vectors),
            "n_tokens": pa.array(counts, pa.int32()),
            "text": pa.array(texts, pa.string()),
        }
        arrays = [added[field.name] if field.name in added else table[field.name] for field in schema]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _count(self, text: str) -> int:
        if len(text) > MAX_TEXT_BYTES:
            raise InputError(
                f"The text has {len(text):,} characters; more than {MAX_TEXT_BYTES:,} is taken for an accident."
            )
        if not text.strip():
            raise InputError("The row has no text.")
        return self._embedder.prepare([text]).n_tokens[0]


class _Memory:
    """Vectors of texts that were seen before, the latest ``room`` of them."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._known: OrderedDict[bytes, FloatArray] = OrderedDict()
        self.repeated = 0

    def embed(self, texts: Sequence[str], embed: Callable[[list[str]], FloatArray], dims: int) -> FloatArray:
        """The vectors of texts, each different text embedded once."""
        keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        new: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if key not in self._known:
                new.setdefault(key, text)
        made = dict(zip(new, embed(list(new.values())), strict=True)) if new else {}
        self.repeated += len(texts) - len(new)
        vectors = np.empty((len(texts), dims), np.float32)
        for row, key in enumerate(keys):
            vectors[row] = made[key] if key in made else self._known[key]
        for key in keys:
            if key in made:
                self._known[key] = made[key]
            self._known.move_to_end(key)
        while len(self._known) > self._room:
            self._known.popitem(last=False)
        return vectors


def _text(template: Template, batch: pa.RecordBatch, row: int, number: int, source: str) -> str:
    """The text of row ``row`` of a batch, which is row ``number`` of its file.

    Raises:
        InputError: A value is too large, is not text, or is not UTF-8.
    """
    one = batch.slice(row, 1)
    for name in template.columns:
        column = one.column(name)
        if (pa.types.is_string(column.type) or pa.types.is_binary(column.type)) and column[0].is_valid:
            size = column[0].as_buffer().size
            if size > MAX_TEXT_BYTES:
                raise InputError(f"The column {name!r} has {size:,} bytes, which is taken for an accident.")
    return template.texts(one, first_row=number, name=source)[0]


def _read(unit: Unit) -> Iterator[tuple[int, pa.RecordBatch]]:
    """A unit's rows as batches, each with the number of its first row. Pages are read as needed, never a whole row group."""
    system, path = open_place(unit.source)
    last = unit.first_row + unit.n_rows
    with system.open_input_file(path) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)
        schema = plain_schema(file.schema_arrow.remove_metadata(), name=unit.source)
        start = 0
        for group in range(file.num_row_groups):
            n_rows = file.metadata.row_group(group).num_rows
            if start + n_rows > unit.first_row and start < last:
                at = start
                wide = file.metadata.row_group(group).total_byte_size // max(n_rows, 1)
                size = max(1, min(BATCH_ROWS, BATCH_BYTES // max(wide, 1)))
                for batch in file.iter_batches(batch_size=size, row_groups=[group]):
                    left, right = max(unit.first_row - at, 0), min(last - at, len(batch))
                    if left < right:
                        yield at + left, plain_batch(batch.slice(left, right - left), schema)
                    at += len(batch)
                    if at >= last:
                        break
            start += n_rows


def space_of(embedder: Embedder, role: str | None) -> Space:
    """The space that a job's vectors lie in."""
    return Space(embedder.model, embedder.fingerprint, embedder.dims, embedder.card.role or role or "")
