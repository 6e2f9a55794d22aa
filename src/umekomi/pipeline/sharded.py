"""Embeds data sets of any size: many Parquet files to many Parquet shards, on this machine or on a cluster.

Each input is divided into *shards*, ranges of rows. A worker embeds a shard to one file, and a shard is finished when its
manifest entry is written, after the file. After a crash, the next run embeds unfinished shards again and writes the same bytes,
because the same text always gives the same vector and a shard depends only on its own rows. Memory holds one batch of one shard.

::

    out/
      .umekomi.json                    marks the folder as created by Umekomi
      _umekomi.json                    manifest: the model's space, the template, the options and the columns
      _shards.json                     the finished shards, whether the run is complete, and shards that were removed
      part-1f0c5b2e91aa-000000000000.parquet     a shard: the input's columns, embedding, n_tokens, text
      _done/part-….json                its manifest entry: input, rows, a digest of the input's rows, numbers of rows and tokens
      _rejected/part-….jsonl           its rows that could not be embedded, each with its reason
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow.fs as pafs

from ..data.embedded_file import METADATA_KEY, EmbeddedColumns, Space, build_space, plan_columns
from ..data.templates import resolve_template
from ..embedder import Embedder
from ..errors import InputError, RecordError, UmekomiError
from ..files.filesystem import (
    canonical_url,
    claim_output_folder,
    is_local,
    local_path,
    open_filesystem,
    put_text,
    read_json,
)
from ..files.filesystem_lock import LockCheck, locked_folder
from ..progress import Progress, no_progress
from .shard_inputs import InputReader, Shard, ShardedInputs, find_inputs, plan_shards
from .shards import MANIFEST, REJECTED, RESULTS, ShardJob, ShardResult, ShardSchemas, ShardWorker

CONTENT = "embedding shards"
"""Content for which output folders are claimed."""
SHARD_LIST = "_shards.json"
_OWN_FILES = re.compile(r"part-[0-9a-f]{12}-[0-9]{12,}\.(parquet|json|jsonl)|\.umekomi-[0-9a-f-]+\.tmp")
# Entries first: a shard without an entry is unfinished, so a crash in between leaves no wrong shard.
_SUBFOLDERS = (RESULTS, "", REJECTED)

Runner = Callable[[ShardJob, Sequence[Shard]], Iterator[ShardResult]]
"""Embeds shards in any order, and yields the result of each after its manifest entry is written."""


@dataclass(frozen=True, slots=True)
class ShardedSummary:
    """Result of a run."""

    output: str
    model: str
    fingerprint: str
    #: Number of shards of the output.
    shards: int
    #: Number of shards that this run embedded.
    new_shards: int
    #: Number of shards that this run removed because their input has changed or is gone.
    removed_shards: int
    #: Number of rows of the output.
    rows: int
    #: Number of tokens of these rows.
    tokens: int
    #: Number of rows that could not be embedded.
    rejected: int
    #: Number of texts whose vector was copied from an equal text.
    repeated: int
    #: Duration of this run.
    seconds: float
    #: Maps columns of the inputs that have another name in the shards to that name.
    renamed_columns: dict[str, str]


@dataclass(frozen=True, slots=True)
class ShardedDataset:
    """A folder of shards that :func:`embed_sharded` wrote."""

    #: Path or URL of the folder.
    url: str
    #: Vector space of the shards.
    space: Space
    #: Finished shards, sorted by name.
    shards: tuple[ShardResult, ...]
    #: Whether the last run finished all shards of its inputs.
    complete: bool
    #: Names of shards that were removed by ``--changed-only`` because their input is gone.
    removed: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of rows of all shards."""
        return sum(shard.rows for shard in self.shards)


def is_sharded(url: str) -> bool:
    """Return whether a path or URL is a folder that :func:`embed_sharded` wrote."""
    if is_local(url) and not local_path(url).is_dir():
        return False
    system, folder = open_filesystem(url)
    return read_json(system, f"{folder}/{MANIFEST}") is not None


def open_sharded(url: str) -> ShardedDataset:
    """Open a folder of shards. Unfinished shards are ignored.

    Raises:
        RecordError: The folder contains no shards, or none of them is finished.
    """
    system, folder = open_filesystem(url)
    manifest = read_json(system, f"{folder}/{MANIFEST}")
    if manifest is None:
        raise RecordError(f"{url} holds no shards. Make them with `umekomi embed IN -o {url.rstrip('/')}/`.")
    results = _read_results(system, folder)
    if not results:
        raise RecordError(f"No shard of {url} is finished. Run its `umekomi embed` to the end first.")
    shard_list = read_json(system, f"{folder}/{SHARD_LIST}") or {}
    try:
        space = Space(manifest["model"], manifest["fingerprint"], manifest["dims"], manifest.get("role", ""))
    except KeyError as error:
        raise RecordError(f"The manifest of {url} is damaged: it has no {error}. Embed the inputs again.") from error
    return ShardedDataset(
        url.rstrip("/"),
        space,
        tuple(results[name] for name in sorted(results)),
        bool(shard_list.get("complete", False)),
        tuple(shard_list.get("removed", [])),
    )


def embed_sharded(
    sources: Sequence[str],
    job: ShardJob,
    *,
    embedder: Embedder | Callable[[], Embedder] | None = None,
    run: Runner | None = None,
    changed_only: bool = False,
    overwrite: bool = False,
    set_total: Callable[[int], object] = lambda n_rows: None,
    progress: Progress = no_progress,
) -> ShardedSummary:
    """Embed Parquet files into a folder of Parquet shards. The same call continues an interrupted run.

    Args:
        sources: Files, folders, patterns and URLs.
        job: Output, model and options.
        embedder: Embedder of the job's model, or a function that loads it. The function is called once the output is locked.
        run: Runner of the shards; by default they are embedded in this process, one after the other.
        changed_only: Whether to embed inputs that have changed since an earlier run again, and to remove the shards of inputs
            that are gone.
        overwrite: Whether to delete existing shards and start again.
        set_total: Callback that receives the number of rows of all inputs, once.
        progress: Callback that receives the number of input rows of each shard that is finished or was finished by an
            earlier run.

    Raises:
        RecordError: An input cannot be read, or has changed since an earlier run and ``changed_only`` is not set.
        InputError: The output was made with other options (model, version or template), or was not created by Umekomi.
        OutputLockedError: Another process is writing the output.
        UmekomiError: The output cannot be written.
    """
    start = time.monotonic()
    named, job = job.output, replace(job, output=canonical_url(job.output))
    system, folder = open_filesystem(job.output)
    manifest = None if overwrite else read_json(system, f"{folder}/{MANIFEST}")
    existing = None if manifest is None else ShardSchemas.from_json(manifest)
    reader = InputReader()
    inputs = plan_shards(
        find_inputs(sources, output=job.output),
        shard_rows=job.shard_rows,
        existing=None if existing is None else (f"the inputs of {named}", existing.inputs),
        reader=reader,
    )
    resolve_template(inputs.schema.names, job.template)
    set_total(sum(shard.n_rows for shard in inputs.shards))
    try:
        claim_output_folder(system, folder, content=CONTENT)
        with locked_folder(system, folder, purpose="umekomi embed") as check_lock:
            loaded = embedder if isinstance(embedder, Embedder) else embedder() if embedder else Embedder(job.model)
            check_lock()
            output = _Output(system, folder, named, job, inputs, build_space(loaded, job.role), reader)
            if overwrite:
                output.clear()
            schemas = output.prepare()

            def run_locally(job: ShardJob, shards: Sequence[Shard]) -> Iterator[ShardResult]:
                return map(ShardWorker(job, embedder=loaded, schemas=schemas, reader=reader), shards)

            finished, stale = output.compare(schemas, progress)
            if stale and not changed_only:
                raise RecordError(
                    f"{stale[0].shard.source} has changed or is no longer among the inputs ({len(stale)} shards are stale). "
                    "Embed what has changed and remove the rest with --changed-only, or start again with --overwrite."
                )
            pending = [shard for shard in inputs.shards if shard.name not in finished]
            output.embed(finished, stale, pending, run or run_locally, check_lock, progress)
    except OSError as error:
        raise UmekomiError(f"{named}: {error}. Finished work is kept; run the same command again.") from error
    results = finished.values()
    return ShardedSummary(
        output=named,
        model=loaded.model,
        fingerprint=loaded.fingerprint,
        shards=len(inputs.shards),
        new_shards=len(pending),
        removed_shards=len(stale),
        rows=sum(result.rows for result in results),
        tokens=sum(result.tokens for result in results),
        rejected=sum(result.rejected for result in results),
        repeated=sum(result.repeated for result in results),
        seconds=time.monotonic() - start,
        renamed_columns=schemas.columns.renamed,
    )


@dataclass(frozen=True, slots=True)
class _Output:
    """The output of a run. This process holds its lock."""

    system: pafs.FileSystem
    folder: str
    #: The folder as the user named it.
    named: str
    job: ShardJob
    inputs: ShardedInputs
    #: Vector space of the run.
    space: Space
    reader: InputReader

    def clear(self) -> None:
        """Delete what earlier runs wrote, and nothing else."""
        self._delete_shards(keep=())
        for name in (SHARD_LIST, MANIFEST):
            self._delete(f"{self.folder}/{name}")

    def prepare(self) -> ShardSchemas:
        """Write the manifest, or check that an existing one has the same options. Return the columns of the run."""
        for name in (RESULTS, REJECTED):
            self.system.create_dir(f"{self.folder}/{name}", recursive=True)
        options = {
            **self.space.to_dict(),
            "template": self.job.template,
            "too_long": self.job.too_long.value,
            "shard_rows": self.job.shard_rows,
            "vectors": self.job.vectors.value,
        }
        existing = read_json(self.system, f"{self.folder}/{MANIFEST}")
        if existing is None:
            schemas = self._plan_schemas()
            self._write_json(MANIFEST, {**options, **schemas.to_json()})
            return schemas
        for key, value in options.items():
            if existing.get(key) != value:
                raise InputError(
                    f"{self.named} was made with {key} = {existing.get(key)!r}; this run has {value!r}. Choose another folder, "
                    "or start again with --overwrite."
                )
        schemas = ShardSchemas.from_json(existing)
        dropped = set(schemas.inputs.names) - set(schemas.columns.inputs.values())
        for source, metadata in self.inputs.metadata.items():
            required = self._plan_columns(metadata).inputs.values()
            lost = next((name for name in required if name in dropped), None)
            if lost is not None:
                raise RecordError(
                    f"The column {lost!r} of {source} would be lost, because the inputs of {self.named} were embedded files, "
                    "which this one is not. Choose another folder."
                )
        return schemas

    def _plan_schemas(self) -> ShardSchemas:
        plans = [self._plan_columns(metadata) for metadata in self.inputs.metadata.values()]
        # Columns of an earlier embedding are replaced only if every input is an embedded file.
        agree = all(plan.inputs == plans[0].inputs for plan in plans)
        return ShardSchemas(self.inputs.schema, plans[0] if agree else self._plan_columns({}))

    def _plan_columns(self, metadata: Mapping[bytes, bytes]) -> EmbeddedColumns:
        return plan_columns(
            self.inputs.schema, self.space, template=self.job.template, too_long=self.job.too_long,
            vectors=self.job.vectors, metadata={key: value for key, value in metadata.items() if key == METADATA_KEY},
        )  # fmt: skip

    def compare(self, schemas: ShardSchemas, progress: Progress) -> tuple[dict[str, ShardResult], list[ShardResult]]:
        """Find finished shards.

        Returns:
            Results of the shards whose rows have not changed since, by name, and results of all other shards in the output.
        """
        results = _read_results(self.system, self.folder)
        files = {Path(path).name for path in self._own_files("")}
        finished: dict[str, ShardResult] = {}
        for shard in self.inputs.shards:
            result = results.get(shard.name)
            if result is None or f"{shard.name}.parquet" not in files:
                results.pop(shard.name, None)
                continue
            # Object stores set the modification time themselves. Tools that copy local files keep theirs, so that is no proof.
            if shard != result.shard or is_local(shard.source):
                if shard.n_rows != result.shard.n_rows or self.reader.digest(shard, schemas.inputs) != result.digest:
                    continue
                if shard != result.shard:
                    result = replace(result, shard=shard)
                    self._write_json(f"{RESULTS}/{shard.name}.json", asdict(result))
            finished[shard.name] = result
            progress(shard.n_rows)
        return finished, [result for name, result in sorted(results.items()) if name not in finished]

    def embed(
        self,
        finished: dict[str, ShardResult],
        stale: Sequence[ShardResult],
        pending: Sequence[Shard],
        run: Runner,
        check_lock: LockCheck,
        progress: Progress,
    ) -> None:
        """Remove stale shards, embed the pending ones, add their results to ``finished``, and write the list of shards."""
        planned = {shard.name for shard in self.inputs.shards}
        before = read_json(self.system, f"{self.folder}/{SHARD_LIST}") or {}
        removed = {*before.get("removed", ()), *(result.name for result in stale)} - planned
        if pending or stale:
            self._write_list(finished, removed, complete=False)
        self._delete_shards(keep=finished)
        for result in run(self.job, pending):
            check_lock()
            finished[result.name] = result
            progress(result.shard.n_rows)
        self._write_list(finished, removed, complete=True)

    def _delete_shards(self, *, keep: Iterable[str]) -> None:
        """Delete the files of all shards but those to keep, and temporary files of killed runs."""
        kept = set(keep)
        for subfolder in _SUBFOLDERS:
            for path in self._own_files(subfolder):
                if Path(path).name.partition(".")[0] not in kept:
                    self._delete(path)

    def _own_files(self, subfolder: str) -> list[str]:
        folder = f"{self.folder}/{subfolder}".rstrip("/")
        entries = self.system.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
        return [entry.path for entry in entries if entry.is_file and _OWN_FILES.fullmatch(Path(entry.path).name)]

    def _delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.system.delete_file(path)

    def _write_list(self, finished: Mapping[str, ShardResult], removed: set[str], *, complete: bool) -> None:
        shards = [
            {
                "name": name,
                "source": result.shard.source,
                "first_row": result.shard.first_row,
                "rows": result.rows,
                "digest": result.digest,
            }
            for name, result in sorted(finished.items())
        ]
        self._write_json(SHARD_LIST, {"complete": complete, "shards": shards, "removed": sorted(removed)})

    def _write_json(self, name: str, value: Mapping[str, object]) -> None:
        put_text(self.system, f"{self.folder}/{name}", json.dumps(value, indent=1))


def _read_results(system: pafs.FileSystem, folder: str) -> dict[str, ShardResult]:
    """Return the finished shards by name. Damaged entries are ignored."""
    results = {}
    for row in system.get_file_info(pafs.FileSelector(f"{folder}/{RESULTS}", allow_not_found=True)):
        entry = read_json(system, row.path) if row.path.endswith(".json") else None
        with suppress(KeyError, TypeError):
            if entry is not None:
                shard = Shard(**entry.pop("shard"))
                results[shard.name] = ShardResult(shard, **entry)
    return results
