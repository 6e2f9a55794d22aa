"""A file of any size, embedded to Parquet: in chunks that are each safe on disk, so that a run can be cut and taken up.

While it runs, ``OUT.parquet.parts/`` holds one Parquet file a finished chunk and a manifest of what they were made from.
A part appears under its name only when it is whole. At the end the parts are joined into ``OUT.parquet`` and deleted.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .catalog import Role
from .embedder import Embedder
from .errors import InputError, RecordError, TokenLimitError, UmekomiError
from .records import Records, Space, embedded_schema, template_for
from .vector_columns import VectorType, column_of

CHUNK_ROWS = 512
"""Rows in a part: some seconds of work for the default model on two cores, which is what a kill can cost."""


class Existing(StrEnum):
    """What to do with an output, or an unfinished one, that is already there."""

    REFUSE = "refuse"
    RESUME = "resume"
    OVERWRITE = "overwrite"


class TooLong(StrEnum):
    """What to do with a text of more tokens than the model takes."""

    FAIL = "fail"
    TRUNCATE = "truncate"


class Empty(StrEnum):
    """What to do with a text of nothing: stop, or leave the row out and say so."""

    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did. ``seconds`` and ``resumed_rows`` are this run's own; ``hosted_price`` is in US dollars."""

    output: str
    model: str
    fingerprint: str
    rows: int
    tokens: int
    resumed_rows: int
    skipped_rows: int
    seconds: float
    hosted_price: float | None


Progress = Callable[[int, int], None]
"""Called with rows and tokens that have just been finished."""


def embed_records(
    records: Records,
    output: str | Path,
    *,
    embedder: Embedder,
    template: str | None = None,
    role: Role | None = None,
    existing: Existing = Existing.REFUSE,
    too_long: TooLong = TooLong.FAIL,
    empty: Empty = Empty.FAIL,
    vectors: VectorType = VectorType.FLOAT32,
    progress: Progress | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Summary:
    """Embed every record; write the input's columns with ``embedding``, ``n_tokens`` and ``text`` to one Parquet file.

    Raises:
        RecordError: a column is missing, a text is empty, or the output is there already.
        TokenLimitError: a text is too long and ``too_long`` is FAIL.
        UmekomiError: what is to be resumed was made from something else.
    """
    run = _Run(
        records, Path(output), embedder, template, role, too_long, empty, vectors, progress or (lambda *done: None)
    )
    with _disk_errors(Path(output)):
        return run(existing, chunk_rows)


@dataclass(slots=True)
class _Run:
    records: Records
    output: Path
    embedder: Embedder
    pattern: str | None
    role: Role | None
    too_long: TooLong
    empty: Empty
    vectors: VectorType
    progress: Progress

    def __call__(self, existing: Existing, chunk_rows: int) -> Summary:
        began = time.monotonic()
        template = template_for(self.records.schema.names, self.pattern)
        role = self.embedder.card.role or self.role
        space = Space(self.embedder.model, self.embedder.fingerprint, self.embedder.dims, role or "")
        schema = embedded_schema(self.records.schema, space, vectors=self.vectors)
        parts = Path(f"{self.output}.parts")
        done = self._prepare(parts, existing, space, chunk_rows)
        totals = [0, 0, 0]
        resumed = 0
        for number, (batch, texts) in enumerate(self.records.with_texts(template, chunk_rows)):
            part = parts / f"{number:08d}.parquet"
            if part in done:
                known = pq.read_table(part, columns=["n_tokens"])["n_tokens"]
                counts = (len(known), sum(known.to_pylist()), len(batch) - len(known))
                resumed += len(batch)
                self.progress(len(batch), 0)
            else:
                first = number * chunk_rows + 1
                table = self._embed(batch, texts, first, schema)
                _write(table, part)
                counts = (len(table), sum(table["n_tokens"].to_pylist()), len(batch) - len(table))
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
        _join(sorted(parts.glob("*.parquet")), self.output, schema)
        shutil.rmtree(parts)
        n_rows, tokens, skipped = totals
        price = self.embedder.card.price_per_1k
        return Summary(
            output=str(self.output),
            model=space.model,
            fingerprint=space.fingerprint,
            rows=n_rows,
            tokens=tokens,
            resumed_rows=resumed,
            skipped_rows=skipped,
            seconds=time.monotonic() - began,
            hosted_price=None if price is None else tokens / 1000 * price,
        )

    def _embed(self, batch: pa.RecordBatch, texts: list[str], first_row: int, schema: pa.Schema) -> pa.Table:
        kept: list[int] = []
        counts: list[int] = []
        for place, text in enumerate(texts):
            if not text.strip():
                if self.empty is Empty.FAIL:
                    raise RecordError(
                        f"Row {first_row + place} of {self.records.name} has no text. Leave such rows out with --empty skip."
                    )
                continue
            try:
                counts.extend(self.embedder.prepare([text]).n_tokens)
            except TokenLimitError as error:
                if self.too_long is TooLong.FAIL:
                    raise RecordError(
                        f"Row {first_row + place} of {self.records.name} has {error.length} tokens; {self.embedder.model} "
                        f"takes {error.limit}. Cut such texts with --too-long truncate."
                    ) from error
                texts[place] = self.embedder.tokenizer.truncate(text, error.limit)
                counts.append(self.embedder.tokenizer.count(texts[place]))
            kept.append(place)
        table = pa.Table.from_batches([batch]).take(pa.array(kept, pa.int64()))
        chosen = [texts[place] for place in kept]
        mean = sum(counts) / max(1, len(counts))
        vectors = self.embedder.embed_texts(
            chosen, role=self.role, progress=lambda count: self.progress(count, round(count * mean))
        )
        self.progress(len(texts) - len(kept), 0)
        added = {
            "embedding": column_of(vectors, self.vectors),
            "n_tokens": pa.array(counts, pa.int32()),
            "text": pa.array(chosen, pa.string()),
        }
        columns = [added.get(field.name) for field in schema]
        arrays = [
            table[field.name] if column is None else column for field, column in zip(schema, columns, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _prepare(self, parts: Path, existing: Existing, space: Space, chunk_rows: int) -> set[Path]:
        """Make the folder of parts; the parts that need not be made again."""
        if self.output.exists() and existing is not Existing.OVERWRITE:
            raise RecordError(
                f"{self.output} is there already. Write over it with --overwrite, or choose another name."
            )
        manifest = {
            "input": self.records.name,
            "rows": self.records.n_rows,
            "template": self.pattern,
            "chunk_rows": chunk_rows,
            "vectors": self.vectors.value,
            "too_long": self.too_long,
            "empty": self.empty,
            **asdict(space),
        }
        path = parts / "manifest.json"
        if parts.exists() and existing is Existing.REFUSE:
            raise RecordError(f"{parts} holds an unfinished run. Go on with --resume, or begin again with --overwrite.")
        if parts.exists() and existing is Existing.RESUME and path.exists():
            before = json.loads(path.read_text("utf-8"))
            for key, value in manifest.items():
                if before.get(key) != value:
                    raise InputError(
                        f"The unfinished run in {parts} had {key} = {before.get(key)!r}, this one has {value!r}. "
                        "Begin again with --overwrite."
                    )
            return set(parts.glob("*.parquet"))
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        path.write_text(json.dumps(manifest, ensure_ascii=False, indent=2), "utf-8")
        return set()


def _write(table: pa.Table, path: Path) -> None:
    """Write a part so that it is either whole under its name or not there."""
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary, compression="zstd", use_dictionary=False)
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)


def _join(parts: list[Path], output: Path, schema: pa.Schema) -> None:
    temporary = output.with_name(output.name + ".tmp")
    with pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=False) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part, schema=schema))
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    temporary.replace(output)


@contextmanager
def _disk_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UmekomiError(
            f"{output} cannot be written: {error.strerror or error}. What is finished is kept; go on with --resume."
        ) from error
