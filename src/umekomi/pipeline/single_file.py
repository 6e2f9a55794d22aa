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
from ..data.embedded_file import WRITE_OPTIONS, TooLong, build_space, plan_columns
from ..data.readers.base import Records
from ..data.templates import Template, resolve_template
from ..embedder import Embedder
from ..encoders.sparse.bm25 import MEAN_LENGTH, is_bm25, measure_mean_length
from ..errors import InputError, RecordError, TokenLimitError
from ..files.outputs import (
    PARQUET_SUFFIXES,
    atomic_write,
    explain_write_errors,
    locked_output,
    require_suffix,
    resolve_output,
    write_text,
)
from ..files.ownership import claim_folder, folder_content, remove_folder
from ..progress import Progress, no_progress
from ..sparse_embedder import SparseEmbedder
from ..tokens import price
from ..vectors.arrow import VectorType
from .row_digest import RowDigest
from .rows import EmptyTextError, Reject, RowEmbedder

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


@dataclass(frozen=True, slots=True)
class _RowChunk:
    """Counts of one chunk, which its part contains as metadata."""

    digest: str
    #: Number of input rows.
    n_rows: int
    #: Number of rows of the part.
    n_embedded: int
    n_tokens: int


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
    sparse: str | None = None,
    load_sparse: Callable[[str], SparseEmbedder] = SparseEmbedder,
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
        sparse: Model of the sparse vectors in the column ``sparse``; see :class:`~umekomi.SparseEmbedder`. BM25 without a mean
            length has that of the texts of the records. By default there are no sparse vectors.
        load_sparse: Loads this model.
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
        text_template = resolve_template(records.schema.names, template)
        _find_unfinished(Path(output), target, existing)
        sparse_embedder = None
        if sparse is not None:
            sparse_embedder = load_sparse(_complete_sparse(sparse, records, text_template, chunk_rows))
        loaded = embedder if isinstance(embedder, Embedder) else embedder()
        start = time.monotonic()
        # Checked again, because loading can take minutes.
        unfinished = _find_unfinished(Path(output), target, existing)
        space = build_space(loaded, role, sparse=sparse_embedder)
        columns = plan_columns(
            records.schema, space, template=template, too_long=too_long, vectors=vectors, metadata=records.metadata
        )
        # Everything that the output depends on, except the rows.
        options = {
            "template": template,
            "chunk_rows": chunk_rows,
            "vectors": vectors.value,
            "too_long": too_long.value,
            "empty": empty.value,
            **asdict(space),
        }
        rows = RowEmbedder(loaded, columns, role, too_long, vectors, sparse_embedder)
        parts = _Parts(parts_folder(target), options, rows)
        n_resumed = n_changed = 0
        chunks: list[_RowChunk] = []
        try:
            parts.prepare(resume=unfinished and existing is Existing.RESUME)
            for number, (batch, texts) in enumerate(records.with_texts(text_template, chunk_rows)):
                digest = _digest(options, batch, texts)
                chunk = parts.read(number)
                if chunk is not None and chunk.digest == digest:
                    n_resumed += chunk.n_rows
                    progress(chunk.n_rows)
                else:
                    n_changed += 0 if chunk is None else len(batch)
                    reject = _rejecter(records.name, number * chunk_rows + 1, loaded.model, empty)
                    chunk = parts.embed(number, digest, batch, texts, reject, progress, token_progress)
                chunks.append(chunk)
            parts.join(output, len(chunks))
        except InputError as error:
            if isinstance(error.__cause__, OSError):
                raise InputError(f"{error} Finished work is kept; continue with --resume.") from error
            raise
    n_rows, n_tokens = sum(chunk.n_embedded for chunk in chunks), sum(chunk.n_tokens for chunk in chunks)
    return Summary(
        output=str(output),
        model=space.model,
        fingerprint=space.fingerprint,
        rows=n_rows,
        tokens=n_tokens,
        resumed_rows=n_resumed,
        changed_rows=n_changed,
        skipped_rows=sum(chunk.n_rows for chunk in chunks) - n_rows,
        renamed_columns=columns.renamed,
        seconds=time.monotonic() - start,
        hosted_price=price(n_tokens, loaded.card),
    )


def _complete_sparse(model: str, records: Records, template: Template, chunk_rows: int) -> str:
    """Return the model of the sparse vectors. BM25 gets the mean length of the texts, unless the model's name has one."""
    if is_bm25(model) and MEAN_LENGTH not in model:
        texts = (text for _, texts in records.with_texts(template, chunk_rows) for text in texts)
        return measure_mean_length(model, texts)
    return model


def _rejecter(name: str, first_row: int, model: str, empty: Empty) -> Reject:
    """Return the function that handles the rows of a chunk that cannot be embedded. Only empty texts may be skipped."""

    def reject(row: int, error: InputError) -> None:
        position = f"Row {first_row + row} of {name}"
        if isinstance(error, EmptyTextError):
            if empty is Empty.FAIL:
                raise RecordError(f"{position} has no text. Leave such rows out with --empty skip.") from error
        elif isinstance(error, TokenLimitError):
            raise RecordError(
                f"{position} has {error.length} tokens; {model} accepts {error.limit}. Truncate such texts with --too-long "
                "truncate."
            ) from error
        else:
            raise error

    return reject


@dataclass(frozen=True, slots=True)
class _Parts:
    """The finished parts of a run."""

    folder: Path
    #: Everything that the output depends on, except the rows.
    options: dict[str, object]
    rows: RowEmbedder

    def path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.parquet"

    def prepare(self, *, resume: bool) -> None:
        """Create the folder of parts, or check that the existing one can be resumed."""
        with explain_write_errors(self.folder):
            claim_folder(self.folder, content=PARTS)
            if resume:
                _require_same_options(self.folder, self.options)
                return
            remove_folder(self.folder, content=PARTS, names=_PART_FILES)
            claim_folder(self.folder, content=PARTS)
        write_text(self.folder / _MANIFEST, json.dumps(self.options, ensure_ascii=False, indent=2))

    def read(self, number: int) -> _RowChunk | None:
        """Return the counts of a part, or None if it does not exist or is damaged."""
        try:
            metadata = pq.read_metadata(self.path(number)).metadata or {}
            return _RowChunk(**json.loads(metadata[_PART_KEY]))
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError, RecursionError):
            return None

    def embed(
        self,
        number: int,
        digest: str,
        batch: pa.RecordBatch,
        texts: list[str],
        reject: Reject,
        progress: Progress,
        token_progress: Progress,
    ) -> _RowChunk:
        """Embed a chunk and write its part."""
        table = self.rows.embed(batch, texts, reject, progress=progress, token_progress=token_progress)
        progress(len(texts) - len(table))
        chunk = _RowChunk(digest, len(batch), len(table), sum(table["n_tokens"].to_pylist()))
        metadata = {**(table.schema.metadata or {}), _PART_KEY: json.dumps(asdict(chunk)).encode()}
        with atomic_write(self.path(number)) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary, **WRITE_OPTIONS)
        return chunk

    def join(self, output: str | Path, count: int) -> None:
        """Write the output from the first ``count`` parts, and delete the folder."""
        schema = self.rows.columns.schema
        with atomic_write(output) as temporary, pq.ParquetWriter(temporary, schema, **WRITE_OPTIONS) as writer:
            for number in range(count):
                writer.write_table(pq.read_table(self.path(number), schema=schema))
        remove_folder(self.folder, content=PARTS, names=_PART_FILES)


def parts_folder(output: Path) -> Path:
    """Return the folder of the finished parts of a run. Symbolic links are followed."""
    return Path(f"{resolve_output(output)}.parts")


def _find_unfinished(output: Path, target: Path, existing: Existing) -> bool:
    """Return whether there is an unfinished run to continue or to replace.

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
    """Return whether there is nothing at a path, or a folder that is empty or claimed for parts."""
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
