"""Data sets of any size: many files in, many Parquet shards out, on this machine or on a cluster.

The work is cut into *units*, each a range of rows of one input file. A unit is embedded by one worker, becomes one shard, and
counts as done when its manifest entry is written, after the shard: whatever dies in between, the next run does that unit again
and writes the same bytes, because the same text gives the same vector and the units are cut from the inputs alone. Memory holds
one batch of one unit.

::

    out/
      _umekomi.json                    what the shards are made from and with: the model's space, the template, the options
      part-1f0c5b2e-000000000000.parquet     a shard: the input's columns, embedding, n_tokens, text
      _done/part-….json                its manifest entry: input, rows, the input's identity, how many rows and tokens
      _dead/part-….jsonl               rows that could not be embedded, each with its reason
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.fs as pafs

from .embedder import Embedder
from .errors import InputError, RecordError, UmekomiError
from .places import find_inputs, open_place, read_json, write_text
from .records import Space, template_for
from .units import Done, Job, Unit, Worker, plan_units, space_of
from .vector_columns import VectorType


@dataclass(frozen=True, slots=True)
class LakeSummary:
    """What a run did; ``new_units`` and ``seconds`` are its own, the rest is of the whole output."""

    output: str
    model: str
    fingerprint: str
    units: int
    new_units: int
    removed_units: int
    rows: int
    tokens: int
    dead: int
    repeated: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Lake:
    """A folder of shards that :func:`embed_lake` made: the space of its vectors, and the finished shards by their names."""

    place: str
    space: Space
    shards: tuple[Done, ...]

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)


def is_lake(place: str) -> bool:
    """Whether a path or URL is a folder that :func:`embed_lake` made."""
    if "://" not in place and not Path(place).is_dir():
        return False
    system, folder = open_place(place)
    return read_json(system, f"{folder}/_umekomi.json") is not None


def open_lake(place: str) -> Lake:
    """What a folder of shards holds; a shard that is not finished does not count.

    Raises:
        RecordError: it is no such folder, or nothing of it is finished.
    """
    system, folder = open_place(place)
    made = read_json(system, f"{folder}/_umekomi.json")
    if made is None:
        raise RecordError(f"{place} holds no shards. Make them with `umekomi embed IN -o {place.rstrip('/')}/`.")
    known = _known(system, folder)
    if not known:
        raise RecordError(f"No shard of {place} is finished. Run its `umekomi embed` to the end first.")
    space = Space(made["model"], made["fingerprint"], made["dims"], made.get("role", ""))
    return Lake(place.rstrip("/"), space, tuple(known[name] for name in sorted(known)))


Progress = Callable[[Done], None]
"""Called with each unit when it is finished, or found finished."""

Runner = Callable[[Job, Sequence[Unit]], Iterator[Done]]
"""Does units, in any order, and gives each when its manifest entry is written."""


def embed_lake(
    sources: Sequence[str],
    job: Job,
    *,
    embedder: Embedder | None = None,
    run: Runner | None = None,
    changed_only: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> LakeSummary:
    """Embed Parquet files into a folder of Parquet shards. The same call goes on with what an earlier one left.

    Args:
        sources: files, folders, patterns, URLs.
        job: where to, and with what.
        embedder: the job's model, where it is loaded already.
        run: who does the units; by default this process, one after the other.
        changed_only: embed again what has changed in the inputs since an earlier run, and remove what is no longer there.
        overwrite: begin again, whatever is there.
        progress: told of each unit.

    Raises:
        RecordError: an input cannot be read, or has changed since an earlier run and ``changed_only`` is not set.
        InputError: the output was made from something else: another model or version of it, another template.
        UmekomiError: the output cannot be written.
    """
    began = time.monotonic()
    embedder = embedder or Embedder(job.model)
    tell = progress or (lambda done: None)
    inputs = find_inputs(sources)
    units, schema = plan_units(inputs, shard_rows=job.shard_rows)
    template_for(schema.names, job.template)
    system, folder = open_place(job.output)
    try:
        if overwrite:
            _clear(system, folder)
        _claim(system, folder, job, space_of(embedder, job.role))
        known = _known(system, folder)
        removed = _settle(system, folder, known, units, changed_only=changed_only)
        waiting = [unit for unit in units if unit.name not in known]
        finished = [known[unit.name] for unit in units if unit.name in known]
        for done in finished:
            tell(done)
        worker = run or _here(embedder)
        for done in worker(job, waiting):
            finished.append(done)
            tell(done)
    except OSError as error:
        raise UmekomiError(f"{job.output}: {error}. What is finished is kept; run the same command again.") from error
    return LakeSummary(
        output=job.output,
        model=embedder.model,
        fingerprint=embedder.fingerprint,
        units=len(units),
        new_units=len(waiting),
        removed_units=removed,
        rows=sum(done.rows for done in finished),
        tokens=sum(done.tokens for done in finished),
        dead=sum(done.dead for done in finished),
        repeated=sum(done.repeated for done in finished),
        seconds=time.monotonic() - began,
    )


def _here(embedder: Embedder) -> Runner:
    def run(job: Job, units: Sequence[Unit]) -> Iterator[Done]:
        return map(Worker(job, embedder=embedder), units)

    return run


def _claim(system: pafs.FileSystem, folder: str, job: Job, space: Space) -> None:
    """Write what the output is made with, or refuse one that was made with something else."""
    system.create_dir(folder, recursive=True)
    system.create_dir(f"{folder}/_done", recursive=True)
    mine = {**asdict(space), "template": job.template, "too_long": job.too_long.value, "shard_rows": job.shard_rows}
    mine["vectors"] = job.vectors.value
    there = read_json(system, f"{folder}/_umekomi.json")
    if there is None:
        if any(row.is_file for row in system.get_file_info(pafs.FileSelector(folder, allow_not_found=True))):
            raise RecordError(f"{job.output} holds files that are not of Umekomi's. Choose an empty folder.")
        write_text(system, f"{folder}/_umekomi.json", json.dumps(mine, ensure_ascii=False, indent=2))
        return
    there = {"vectors": VectorType.FLOAT32.value, **there}  # earlier versions had no other
    for key, value in mine.items():
        if there.get(key) != value:
            raise InputError(
                f"{job.output} was made with {key} = {there.get(key)!r}; this run has {value!r}. Choose another folder, or begin "
                "again with --overwrite."
            )


def _known(system: pafs.FileSystem, folder: str) -> dict[str, Done]:
    """The units that are finished, by their names."""
    found = {}
    for row in system.get_file_info(pafs.FileSelector(f"{folder}/_done", allow_not_found=True)):
        entry = read_json(system, row.path) if row.path.endswith(".json") else None
        if entry is not None:
            unit = Unit(**entry.pop("unit"))
            found[unit.name] = Done(unit, **entry)
    return found


def _settle(
    system: pafs.FileSystem, folder: str, known: dict[str, Done], units: Sequence[Unit], *, changed_only: bool
) -> int:
    """Forget finished units whose input has changed or gone; how many were forgotten."""
    planned = {unit.name: unit for unit in units}
    stale = [name for name, done in known.items() if planned.get(name) != done.unit]
    if stale and not changed_only:
        raise RecordError(
            f"{known[stale[0]].unit.source} has changed or is no longer among the inputs ({len(stale)} shards are stale). "
            "Say --changed-only to embed what changed again and remove the rest, or --overwrite to begin again."
        )
    for name in stale:
        # The manifest entry goes first: a shard without one does not count.
        for place in (f"_done/{name}.json", f"{name}.parquet", f"_dead/{name}.jsonl"):
            with suppress(FileNotFoundError):
                system.delete_file(f"{folder}/{place}")
        del known[name]
    return len(stale)


def _clear(system: pafs.FileSystem, folder: str) -> None:
    if read_json(system, f"{folder}/_umekomi.json") is not None:
        system.delete_dir_contents(folder)
