"""Units of a data set: ranges of rows of one file, each embedded by one worker to one shard, or again if that one dies."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..catalog import Role
from ..data.embedded_file import EmbeddedColumns, Space, TooLong
from ..data.templates import Template, resolve_template
from ..embedder import Embedder
from ..errors import InputError, RecordError, TokenLimitError
from ..files.filesystem import atomic_stream, open_filesystem, put_text, read_json
from ..settings import Settings
from ..vectors.arithmetic import FloatArray
from ..vectors.arrow import VectorType
from .row_digest import RowDigest
from .shard_inputs import Shard, read_rows

MANIFEST = "_umekomi.json"
"""Name of the file that says what the shards of a folder are made with."""
SHARD_ROWS = 8192
"""Rows of one shard: what a kill can cost each worker, and the rows of one file of the output."""
MAX_TEXT_BYTES = 4 * 2**20
"""A longer text is no text to embed but an accident; it goes to the rejected letters unread."""
CACHE_BYTES = 64 * 2**20
"""Vectors that a worker remembers, so that a text that comes again is not embedded again."""


@dataclass(frozen=True, slots=True)
class ShardJob:
    """What every shard of a run shares; small, and sent to each worker."""

    output: str
    model: str
    template: str | None = None
    role: str | None = None
    too_long: TooLong = TooLong.FAIL
    shard_rows: int = SHARD_ROWS
    cache_bytes: int = CACHE_BYTES
    vectors: VectorType = VectorType.FLOAT32


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a run: those that every input is cast to, and those of the shards."""

    schema: pa.Schema
    columns: EmbeddedColumns

    def to_json(self) -> dict[str, object]:
        """The layout as part of the manifest of a folder."""
        schemas = {"input_schema": self.schema, "schema": self.columns.schema}
        encoded = {name: base64.b64encode(schema.serialize().to_pybytes()).decode() for name, schema in schemas.items()}
        return {**encoded, "inputs": dict(self.columns.inputs)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Layout:
        """The layout in a manifest.

        Raises:
            RecordError: The manifest is damaged.
        """
        try:
            schema, output = (
                pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value[name]))) for name in ("input_schema", "schema")
            )
            return Layout(schema, EmbeddedColumns(output, dict(value["inputs"])))
        except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as error:
            raise RecordError("The manifest of the shards is damaged. Start again with --overwrite.") from error


@dataclass(frozen=True, slots=True)
class ShardResult:
    """A finished shard and what its manifest entry contains."""

    shard: Shard
    #: Rows of the shard.
    rows: int
    tokens: int
    #: Rows that could not be embedded.
    rejected: int
    #: Texts that were embedded before and whose vectors were copied.
    repeated: int
    #: Digest of the rows of the input that the shard was made from.
    digest: str = ""

    @property
    def name(self) -> str:
        """Name of the shard without its suffix."""
        return self.shard.name


class ShardWorker:
    """Embeds shards, one after another. Each process of a run has one.

    Args:
        job: What the shards share.
        settings: Where assets are; by default from the environment.
        embedder: By default the job's model, which is then loaded.
        layout: The columns; by default those in the manifest of the job's output.
    """

    def __init__(
        self,
        job: ShardJob,
        *,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        layout: Layout | None = None,
    ) -> None:
        self._job = job
        self._layout = layout
        self._embedder = embedder or Embedder(job.model, settings=settings)
        self._system, self._folder = open_filesystem(job.output)
        room = job.cache_bytes // (4 * self._embedder.dims)
        self._memory = _Memory(room)

    def __call__(self, shard: Shard) -> ShardResult:
        """Embed a shard; write its shard, its rejected rows and last its manifest entry."""
        self._memory.repeated = 0
        layout = self._layout = self._layout or Layout.from_json(
            read_json(self._system, f"{self._folder}/{MANIFEST}") or {}
        )
        template = resolve_template(layout.schema.names, self._job.template)
        rows = tokens = 0
        rejected: list[dict[str, object]] = []
        digest = RowDigest()
        place = f"{self._folder}/{shard.name}.parquet"
        options = {"compression": "zstd", "use_dictionary": False}
        with (
            atomic_stream(self._system, place) as stream,
            pq.ParquetWriter(stream, layout.columns.schema, **options) as writer,
        ):
            for first, batch in read_rows(shard, layout.schema):
                digest.update(batch)
                table = self._embed(batch, first, template, layout.columns, rejected, shard.source)
                if len(table):
                    writer.write_table(table)
                rows += len(table)
                tokens += sum(table["n_tokens"].to_pylist())
        letters = f"{self._folder}/_rejected/{shard.name}.jsonl"
        if rejected:
            put_text(self._system, letters, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rejected))
        else:
            with suppress(FileNotFoundError):
                self._system.delete_file(letters)
        done = ShardResult(shard, rows, tokens, len(rejected), self._memory.repeated, digest.hexdigest())
        put_text(self._system, f"{self._folder}/_done/{shard.name}.json", json.dumps(asdict(done)))
        return done

    def _embed(
        self,
        batch: pa.RecordBatch,
        first: int,
        template: Template,
        columns: EmbeddedColumns,
        rejected: list[dict[str, object]],
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
                    rejected.append({"row": first + row, "reason": str(error)})
                    continue
            kept.append(row)
            texts.append(text)
            counts.append(count)
        role = Role(self._job.role) if self._job.role else None
        vectors = self._memory.embed(
            texts, lambda some: self._embedder.embed_texts(some, role=role), self._embedder.dims
        )
        table = pa.Table.from_batches([batch]).take(pa.array(kept, pa.int64()))
        return columns.table(table, vectors, counts, texts, dtype=self._job.vectors)

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


def space_of(embedder: Embedder, role: str | None) -> Space:
    """The space that a job's vectors lie in."""
    return Space(embedder.model, embedder.fingerprint, embedder.dims, embedder.card.role or role or "")
