"""Data sets of any size: many Parquet files in, many Parquet shards out, on this machine or on a cluster.

The work is cut into *shards*, each a range of rows of one input file. A shard is embedded by one worker, becomes one shard, and
counts as finished when its manifest entry is written, after the shard: after a crash, the next run embeds the shard again and
writes the same bytes, because the same text gives the same vector and shards depend on their own input only. Memory holds one
batch of one shard.

::

    out/
      .umekomi.json                    marks the folder as created by Umekomi
      _umekomi.json                    what the shards are made with: the model's space, the template, the options, the columns
      _shards.json                     the finished shards, whether the run was complete, and shards that were removed
      part-1f0c5b2e91aa-000000000000.parquet     a shard: the input's columns, embedding, n_tokens, text
      _done/part-….json                its manifest entry: input, rows, a digest of the input's rows, numbers of rows and tokens
      _rejected/part-….jsonl               rows that could not be embedded, each with its reason
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from ..data.embedded_file import METADATA_KEY, Space, plan_columns
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
from .shard_inputs import Inputs, Shard, digest_rows, find_inputs, plan_shards
from .shards import MANIFEST, Layout, ShardJob, ShardResult, ShardWorker, space_of

SHARDS = "embedding shards"
"""What the folder is claimed for."""
LIST = "_shards.json"
_OWN_FILES = re.compile(r"part-[0-9a-f]{12}-[0-9]{12,}\.(parquet|json|jsonl)|\.umekomi-[0-9a-f-]+\.tmp")


@dataclass(frozen=True, slots=True)
class ShardedSummary:
    """What a run did; ``new_shards`` and ``seconds`` are its own, the rest is of the whole output."""

    output: str
    model: str
    fingerprint: str
    shards: int
    new_shards: int
    removed_shards: int
    rows: int
    tokens: int
    rejected: int
    repeated: int
    seconds: float
    #: Columns of the inputs that have another name in the shards, with that name.
    renamed_columns: dict[str, str]


@dataclass(frozen=True, slots=True)
class ShardedDataset:
    """A folder of shards that :func:`embed_sharded` made."""

    url: str
    space: Space
    #: The finished shards, sorted by name.
    shards: tuple[ShardResult, ...]
    #: Whether the last run finished all shards of its inputs.
    complete: bool
    #: Names of shards that ``--changed-only`` removed since the folder was made, because their input is gone.
    removed: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)


def is_sharded(place: str) -> bool:
    """Whether a path or URL is a folder that :func:`embed_sharded` made."""
    if is_local(place) and not local_path(place).is_dir():
        return False
    system, folder = open_filesystem(place)
    return read_json(system, f"{folder}/{MANIFEST}") is not None


def open_sharded(place: str) -> ShardedDataset:
    """Open a folder of shards; shards that are not finished do not count.

    Raises:
        RecordError: It is no such folder, or no shard of it is finished.
    """
    system, folder = open_filesystem(place)
    manifest = read_json(system, f"{folder}/{MANIFEST}")
    if manifest is None:
        raise RecordError(f"{place} holds no shards. Make them with `umekomi embed IN -o {place.rstrip('/')}/`.")
    known = _read_entries(system, folder)
    if not known:
        raise RecordError(f"No shard of {place} is finished. Run its `umekomi embed` to the end first.")
    shards = read_json(system, f"{folder}/{LIST}") or {}
    try:
        space = Space(manifest["model"], manifest["fingerprint"], manifest["dims"], manifest.get("role", ""))
    except KeyError as error:
        raise RecordError(f"The manifest of {place} is damaged: it has no {error}. Embed the inputs again.") from error
    return ShardedDataset(
        place.rstrip("/"),
        space,
        tuple(known[name] for name in sorted(known)),
        bool(shards.get("complete", False)),
        tuple(shards.get("removed", [])),
    )


Runner = Callable[[ShardJob, Sequence[Shard]], Iterator[ShardResult]]
"""Embeds shards, in any order, and yields each when its manifest entry is written."""


def embed_sharded(
    sources: Sequence[str],
    job: ShardJob,
    *,
    embedder: Embedder | Callable[[], Embedder] | None = None,
    run: Runner | None = None,
    changed_only: bool = False,
    overwrite: bool = False,
    planned: Callable[[int], object] = lambda n_rows: None,
    progress: Progress = no_progress,
) -> ShardedSummary:
    """Embed Parquet files into a folder of Parquet shards. The same call continues an interrupted run.

    Args:
        sources: Files, folders, patterns, URLs.
        job: Output, model and options.
        embedder: The job's model, if it is loaded already, or a function that loads it.
        run: Runs the shards; by default in this process, one after the other.
        changed_only: Embed again the inputs that have changed since an earlier run, and remove the shards of those that are
            gone.
        overwrite: Delete existing shards and start again.
        planned: Called once with the number of rows of all inputs.
        progress: Called with the number of input rows of each shard that is finished or was finished by an earlier run.

    Raises:
        RecordError: An input cannot be read, or has changed since an earlier run and ``changed_only`` is not set.
        InputError: The output was made with something else (another model, version or template), or is not Umekomi's.
        OutputLockedError: Another process is writing the output.
        UmekomiError: The output cannot be written.
    """
    start = time.monotonic()
    named, job = job.output, replace(job, output=canonical_url(job.output))
    system, folder = open_filesystem(job.output)
    manifest = None if overwrite else read_json(system, f"{folder}/{MANIFEST}")
    existing = None if manifest is None else Layout.from_json(manifest)
    inputs = plan_shards(
        find_inputs(sources, output=job.output),
        shard_rows=job.shard_rows,
        existing=None if existing is None else (f"the inputs of {named}", existing.schema),
    )
    resolve_template(inputs.schema.names, job.template)
    planned(sum(shard.n_rows for shard in inputs.shards))
    try:
        claim_output_folder(system, folder, content=SHARDS)
        with locked_folder(system, folder, purpose="umekomi embed") as check:
            loaded = embedder if isinstance(embedder, Embedder) else embedder() if embedder else Embedder(job.model)
            check()
            output = _Output(system, folder, named, job)
            if overwrite:
                output.clear()
            layout = output.settle(inputs, space_of(loaded, job.role))
            return output.embed(
                inputs,
                layout,
                loaded,
                run or _here(loaded),
                check,
                changed_only=changed_only,
                progress=progress,
                start=start,
            )
    except OSError as error:
        raise UmekomiError(f"{named}: {error}. Finished work is kept; run the same command again.") from error


def _here(embedder: Embedder) -> Runner:
    def run(job: ShardJob, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        return map(ShardWorker(job, embedder=embedder), shards)

    return run


@dataclass(frozen=True, slots=True)
class _Output:
    """The output of a run, whose lock this process holds."""

    system: pafs.FileSystem
    folder: str
    #: The folder as the user named it.
    named: str
    job: ShardJob

    def clear(self) -> None:
        """Delete what earlier runs wrote, and nothing else."""
        # Entries first: a shard without one does not count, so that a crash leaves no wrong ones.
        for place in ("_done", "", "_rejected"):
            for path in self._own_files(place):
                self._delete(path)
        for name in (LIST, MANIFEST):
            self._delete(f"{self.folder}/{name}")

    def settle(self, inputs: Inputs, space: Space) -> Layout:
        """Write what the output is made with, or check that an existing one is made with the same.

        Returns:
            The columns of the output.
        """
        for name in ("_done", "_rejected"):
            self.system.create_dir(f"{self.folder}/{name}", recursive=True)
        options = {
            **asdict(space),
            "template": self.job.template,
            "too_long": self.job.too_long.value,
            "shard_rows": self.job.shard_rows,
            "vectors": self.job.vectors.value,
        }
        before = read_json(self.system, f"{self.folder}/{MANIFEST}")
        if before is None:
            layout = self._plan_layout(inputs, space)
            self._write_json(MANIFEST, {**options, **layout.to_json()})
            return layout
        for key, value in options.items():
            if before.get(key) != value:
                raise InputError(
                    f"{self.named} was made with {key} = {before.get(key)!r}; this run has {value!r}. Choose another folder, or "
                    "start again with --overwrite."
                )
        layout = Layout.from_json(before)
        dropped = set(layout.schema.names) - set(layout.columns.inputs.values())
        for source, metadata in inputs.metadata.items():
            needed = self._columns(inputs, space, metadata).inputs.values()
            lost = next((name for name in needed if name in dropped), None)
            if lost is not None:
                raise RecordError(
                    f"The column {lost!r} of {source} would be lost, because the inputs of {self.named} were embedded files, "
                    "which this one is not. Choose another folder."
                )
        return layout

    def _plan_layout(self, inputs: Inputs, space: Space) -> Layout:
        plans = [self._columns(inputs, space, metadata) for metadata in inputs.metadata.values()]
        # Columns of an earlier embedding are replaced only if every input has been embedded before.
        agree = all(plan.inputs == plans[0].inputs for plan in plans)
        return Layout(inputs.schema, plans[0] if agree else self._columns(inputs, space, {}))

    def _columns(self, inputs: Inputs, space: Space, metadata: Mapping[bytes, bytes]) -> Any:
        relevant = {key: value for key, value in metadata.items() if key == METADATA_KEY}
        return plan_columns(
            inputs.schema, space, template=self.job.template, too_long=self.job.too_long, vectors=self.job.vectors,
            metadata=relevant,
        )  # fmt: skip

    def embed(
        self,
        inputs: Inputs,
        layout: Layout,
        embedder: Embedder,
        run: Runner,
        check: LockCheck,
        *,
        changed_only: bool,
        progress: Progress,
        start: float,
    ) -> ShardedSummary:
        """Embed the shards that are not finished, and list the shards."""
        finished, stale = self._compare(inputs.shards, layout, progress)
        if stale and not changed_only:
            raise RecordError(
                f"{stale[0].shard.source} has changed or is no longer among the inputs ({len(stale)} shards are stale). Embed "
                "what has changed and remove the rest with --changed-only, or start again with --overwrite."
            )
        planned = {shard.name for shard in inputs.shards}
        before = read_json(self.system, f"{self.folder}/{LIST}") or {}
        removed = {*before.get("removed", ()), *(done.shard.name for done in stale)} - planned
        waiting = [shard for shard in inputs.shards if shard.name not in finished]
        if waiting or stale:
            self._write_list(finished, removed, complete=False)
        for done in stale:
            self._delete(f"{self.folder}/_done/{done.shard.name}.json")
        self._delete_leftovers(keep=set(finished))
        for done in run(self.job, waiting):
            check()
            finished[done.shard.name] = done
            progress(done.shard.n_rows)
        self._write_list(finished, removed, complete=True)
        shards = finished.values()
        return ShardedSummary(
            output=self.named,
            model=embedder.model,
            fingerprint=embedder.fingerprint,
            shards=len(inputs.shards),
            new_shards=len(waiting),
            removed_shards=len(stale),
            rows=sum(done.rows for done in shards),
            tokens=sum(done.tokens for done in shards),
            rejected=sum(done.rejected for done in shards),
            repeated=sum(done.repeated for done in shards),
            seconds=time.monotonic() - start,
            renamed_columns=layout.columns.renamed,
        )

    def _compare(
        self, shards: Sequence[Shard], layout: Layout, progress: Progress
    ) -> tuple[dict[str, ShardResult], list[ShardResult]]:
        """Find the shards that are finished and whose rows have not changed since, and the finished ones that are stale."""
        entries = _read_entries(self.system, self.folder)
        there = {Path(path).name for path in self._own_files("")}
        finished: dict[str, ShardResult] = {}
        for shard in shards:
            done = entries.get(shard.name)
            if done is None or f"{shard.name}.parquet" not in there:
                entries.pop(shard.name, None)
                continue
            if shard != done.shard or is_local(shard.source):
                # Object stores set the modification time themselves. That of a local file says little: copying tools keep it.
                if shard.n_rows != done.shard.n_rows or digest_rows(shard, layout.schema) != done.digest:
                    continue
                if shard != done.shard:
                    done = replace(done, shard=shard)
                    self._write_json(f"_done/{shard.name}.json", asdict(done))
            finished[shard.name] = done
            progress(done.shard.n_rows)
        return finished, [done for name, done in sorted(entries.items()) if name not in finished]

    def _delete_leftovers(self, *, keep: set[str]) -> None:
        """Delete shards, entries and rejected rows of shards that are not finished, and temporary files of killed runs."""
        for place in ("_done", "", "_rejected"):
            for path in self._own_files(place):
                if Path(path).name.partition(".")[0] not in keep:
                    self._delete(path)

    def _own_files(self, place: str) -> list[str]:
        folder = f"{self.folder}/{place}".rstrip("/")
        rows = self.system.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
        return [row.path for row in rows if row.is_file and _OWN_FILES.fullmatch(Path(row.path).name)]

    def _delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.system.delete_file(path)

    def _write_list(self, finished: Mapping[str, ShardResult], removed: set[str], *, complete: bool) -> None:
        shards = [
            {
                "name": name,
                "source": done.shard.source,
                "first_row": done.shard.first_row,
                "rows": done.rows,
                "digest": done.digest,
            }
            for name, done in sorted(finished.items())
        ]
        self._write_json(LIST, {"complete": complete, "shards": shards, "removed": sorted(removed)})

    def _write_json(self, name: str, value: Mapping[str, object]) -> None:
        put_text(self.system, f"{self.folder}/{name}", json.dumps(value, indent=1))


def _read_entries(system: pafs.FileSystem, folder: str) -> dict[str, ShardResult]:
    """Return the finished shards by name; entries that are damaged do not count."""
    result = {}
    for row in system.get_file_info(pafs.FileSelector(f"{folder}/_done", allow_not_found=True)):
        entry = read_json(system, row.path) if row.path.endswith(".json") else None
        with suppress(KeyError, TypeError):
            if entry is not None:
                shard = Shard(**entry.pop("shard"))
                result[shard.name] = ShardResult(shard, **entry)
    return result
