"""Embeds a file of any size to one Parquet file, in chunks, so that an interrupted run can be resumed.

During a run, ``OUT.parquet.parts/`` contains one Parquet file for each finished chunk and a manifest of the options. A part
appears under its name only when it is complete, and contains a digest of the options and of the rows that it was made from. At
the end, the parts are joined into ``OUT.parquet`` and deleted.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..catalog import Role
from ..data.embedded_file import WRITE_OPTIONS, Space, TooLong, build_space, plan_columns
from ..data.readers.base import Records
from ..data.readers.parquet import PARQUET_SUFFIXES
from ..data.templates import resolve_template
from ..embedder import Embedder
from ..errors import InputError, RecordError, TokenLimitError
from ..files.outputs import (
    atomic_write,
    explain_write_errors,
    locked_output,
    require_suffix,
    resolve_output,
    write_text,
)
from ..files.ownership import claim_folder, folder_content, remove_folder
from ..progress import Progress, no_progress
from ..tokens import price
from ..vectors.arrow import VectorType
from .row_digest import RowDigest
from .rows import EmptyTextError, RowEmbedder

PARTS = "an unfinished run of umekomi embed"
"""Content for which the folder of parts is claimed."""
_MANIFEST = "manifest.json"
_PART_FILES = (f"{'[0-9]' * 8}.parquet", ".umekomi-*", _MANIFEST)
_PART_KEY = b"umekomi_part"

CHUNK_ROWS = 512
"""Rows of a part: some seconds of work for the default model on two cores. A killed run loses at most this much work."""


class Existing(StrEnum):
    """What to do if the output, or an unfinished run of it, exists."""

    REFUSE = "refuse"
    RESUME = "resume"
    OVERWRITE = "overwrite"


class Empty(StrEnum):
    """What to do with an empty text: stop, or leave the row out and report it."""

    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Summary:
    """Result of a run."""

    output: str
    model: str
    fingerprint: str
    #: Number of rows of the output.
    rows: int
    #: Number of tokens of all rows of the output.
    tokens: int
    #: Number of input rows that an earlier run had finished.
    resumed_rows: int
    #: Number of input rows that an earlier run had finished and that have changed since.
    changed_rows: int
    #: Number of input rows without text, which were left out.
    skipped_rows: int
    #: Maps columns of the input that have another name in the output to that name.
    renamed_columns: dict[str, str]
    #: Duration of this run.
    seconds: float
    #: What the hosted model would have cost, in US dollars; None if there is none.
    hosted_price: float | None


def embed_records(
    records: Records,
    output: str | Path,
    *,
    embedder: Embedder | Callable[[], Embedder],
    template: str | None = None,
    role: Role | None = None,
    existing: Existing = Existing.REFUSE,
    too_long: TooLong = TooLong.FAIL,
    empty: Empty = Empty.FAIL,
    vectors: VectorType = VectorType.FLOAT32,
    progress: Progress = no_progress,
    token_progress: Progress = no_progress,
    chunk_rows: int = CHUNK_ROWS,
) -> Summary:
    """Embed every record. Write the input's columns with ``embedding``, ``n_tokens`` and ``text`` to one Parquet file.

    A resumed run writes the same bytes as an uninterrupted one: chunks whose rows have changed since are embedded again.

    Args:
        records: Input.
        output: Path of the output, which ends with ``.parquet`` or ``.pq``.
        embedder: Embedder, or a function that loads it. The function is called once the output is locked and the columns are
            checked.
        template: Template of the texts; by default the column ``text``.
        role: Whether the texts are queries or documents, for models that embed the two differently.
        existing: What to do if the output or an unfinished run exists.
        too_long: What to do with texts that have more tokens than the model accepts.
        empty: What to do with empty texts.
        vectors: Type of the vectors in the output.
        progress: Callback that receives the number of rows finished since the last call.
        token_progress: Callback that receives the number of tokens embedded since the last call.
        chunk_rows: Number of input rows per chunk.

    Raises:
        RecordError: A column is missing, a text is empty, or the output exists already.
        TokenLimitError: A text is too long and ``too_long`` is FAIL.
        OutputLockedError: Another process is writing the same output.
        InputError: The output cannot be written, or the unfinished run had other options or another model.
    """
    require_suffix(output, PARQUET_SUFFIXES)
    with locked_output(output, purpose="umekomi embed") as target:
        resolve_template(records.schema.names, template)
        _find_unfinished(Path(output), target, existing)
        loaded = embedder if isinstance(embedder, Embedder) else embedder()
        run = _Run(
            records, Path(output), target, loaded, template, role, too_long, empty, vectors, progress, token_progress,
            chunk_rows,
        )  # fmt: skip
        try:
            return run(existing)
        except InputError as error:
            if isinstance(error.__cause__, OSError):
                raise InputError(f"{error} Finished work is kept; continue with --resume.") from error
            raise


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Counts of one chunk, which its part contains as metadata."""

    digest: str
    #: Rows of the input.
    n_rows: int
    #: Rows of the part.
    n_embedded: int
    n_tokens: int


@dataclass(slots=True)
class _Run:
    records: Records
    output: Path
    target: Path
    embedder: Embedder
    pattern: str | None
    role: Role | None
    too_long: TooLong
    empty: Empty
    vectors: VectorType
    progress: Progress
    token_progress: Progress
    chunk_rows: int

    def __call__(self, existing: Existing) -> Summary:
        start = time.monotonic()
        template = resolve_template(self.records.schema.names, self.pattern)
        space = build_space(self.embedder, self.role)
        columns = plan_columns(
            self.records.schema, space, template=self.pattern, too_long=self.too_long, vectors=self.vectors,
            metadata=self.records.metadata,
        )  # fmt: skip
        embedder = RowEmbedder(self.embedder, columns, self.role, self.too_long, self.vectors)
        folder = parts_folder(self.target)
        options = self._options(space)
        self._prepare(folder, existing, options)
        parts: list[Path] = []
        chunks: list[_Chunk] = []
        n_resumed = n_changed = 0
        for number, (batch, texts) in enumerate(self.records.with_texts(template, self.chunk_rows)):
            part = folder / f"{number:08d}.parquet"
            digest = _digest(options, batch, texts)
            chunk = _read_chunk(part)
            if chunk is not None and chunk.digest == digest:
                n_resumed += chunk.n_rows
                self.progress(chunk.n_rows)
            else:
                n_changed += 0 if chunk is None else len(batch)
                chunk = self._embed(embedder, batch, texts, number, digest, part)
            parts.append(part)
            chunks.append(chunk)
        self._join(parts, columns.schema)
        remove_folder(folder, content=PARTS, names=_PART_FILES)
        n_tokens = sum(chunk.n_tokens for chunk in chunks)
        return Summary(
            output=str(self.output),
            model=space.model,
            fingerprint=space.fingerprint,
            rows=sum(chunk.n_embedded for chunk in chunks),
            tokens=n_tokens,
            resumed_rows=n_resumed,
            changed_rows=n_changed,
            skipped_rows=sum(chunk.n_rows - chunk.n_embedded for chunk in chunks),
            renamed_columns=columns.renamed,
            seconds=time.monotonic() - start,
            hosted_price=price(n_tokens, self.embedder.card),
        )

    def _options(self, space: Space) -> dict[str, object]:
        """Return everything that the output depends on, except the rows."""
        return {
            "template": self.pattern,
            "chunk_rows": self.chunk_rows,
            "vectors": self.vectors.value,
            "too_long": self.too_long.value,
            "empty": self.empty.value,
            **asdict(space),
        }

    def _embed(
        self, embedder: RowEmbedder, batch: pa.RecordBatch, texts: list[str], number: int, digest: str, part: Path
    ) -> _Chunk:
        """Embed a chunk and write its part."""

        def reject(row: int, error: InputError) -> None:
            position = f"Row {number * self.chunk_rows + row + 1} of {self.records.name}"
            if isinstance(error, EmptyTextError):
                if self.empty is Empty.FAIL:
                    raise RecordError(f"{position} has no text. Leave such rows out with --empty skip.") from error
                return
            if isinstance(error, TokenLimitError):
                raise RecordError(
                    f"{position} has {error.length} tokens; {self.embedder.model} accepts {error.limit}. Truncate such texts "
                    "with --too-long truncate."
                ) from error
            raise error

        table = embedder.embed(batch, texts, reject, progress=self.progress, token_progress=self.token_progress)
        self.progress(len(texts) - len(table))
        chunk = _Chunk(digest, len(batch), len(table), sum(table["n_tokens"].to_pylist()))
        metadata = {**(table.schema.metadata or {}), _PART_KEY: json.dumps(asdict(chunk)).encode()}
        with atomic_write(part) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary, **WRITE_OPTIONS)
        return chunk

    def _prepare(self, folder: Path, existing: Existing, options: dict[str, object]) -> None:
        """Create the folder of parts, or check that the existing one can be resumed."""
        unfinished = _find_unfinished(self.output, self.target, existing)
        with explain_write_errors(folder):
            claim_folder(folder, content=PARTS)
            if unfinished and existing is Existing.RESUME:
                _require_same_options(folder, options)
                return
            remove_folder(folder, content=PARTS, names=_PART_FILES)
            claim_folder(folder, content=PARTS)
        write_text(folder / _MANIFEST, json.dumps(options, ensure_ascii=False, indent=2))

    def _join(self, parts: list[Path], schema: pa.Schema) -> None:
        with (
            atomic_write(self.output) as temporary,
            pq.ParquetWriter(temporary, schema, **WRITE_OPTIONS) as writer,
        ):
            for part in parts:
                writer.write_table(pq.read_table(part, schema=schema))


def parts_folder(output: Path) -> Path:
    """Return the folder of the finished parts of a run. Symbolic links are followed."""
    return Path(f"{resolve_output(output)}.parts")


def _find_unfinished(output: Path, target: Path, existing: Existing) -> bool:
    """Whether there is an unfinished run to continue or to replace.

    Raises:
        RecordError: The output or an unfinished run exists, and ``existing`` does not allow that.
        InputError: The folder for the parts exists and was not created by Umekomi.
    """
    if output.exists() and existing is not Existing.OVERWRITE:
        raise RecordError(f"{output} exists already. Replace it with --overwrite, or choose another name.")
    folder = parts_folder(target)
    unfinished = (folder / _MANIFEST).is_file() and folder_content(folder) == PARTS
    if unfinished and existing is Existing.REFUSE:
        raise RecordError(
            f"{folder} holds an unfinished run. Continue it with --resume, or start again with --overwrite."
        )
    if not unfinished and (folder.is_symlink() or not _is_free(folder)):
        raise InputError(
            f"Unfinished work would be kept in {folder}, which exists and was not created by Umekomi. Move it away, or "
            "choose another name for the output."
        )
    return unfinished


def _is_free(folder: Path) -> bool:
    """Whether there is nothing at a path, or a folder that is empty or claimed for parts."""
    if not folder.is_dir():
        return not folder.exists()
    return folder_content(folder) == PARTS or not any(folder.iterdir())


def _require_same_options(folder: Path, options: dict[str, object]) -> None:
    try:
        before = json.loads((folder / _MANIFEST).read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{folder / _MANIFEST} is damaged. Start again with --overwrite.") from error
    for key, value in options.items():
        if before.get(key) != value:
            raise InputError(
                f"The unfinished run in {folder} had {key} = {before.get(key)!r}, this one has {value!r}. "
                "Start again with --overwrite."
            )


def _digest(options: dict[str, object], batch: pa.RecordBatch, texts: list[str]) -> str:
    # Includes the texts, because a template uses a number as it is written, such as 1.50, while its column contains 1.5.
    rows = RowDigest()
    rows.update(batch)
    digest = hashlib.blake2b(f"{json.dumps(options)} {rows.hexdigest()}".encode(), digest_size=16)
    for text in texts:
        digest.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _read_chunk(part: Path) -> _Chunk | None:
    """Return the counts in a part, or None if there is no such part or it is damaged."""
    try:
        metadata = pq.read_metadata(part).metadata or {}
        return _Chunk(**json.loads(metadata[_PART_KEY]))
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError, RecursionError):
        return None
