"""Units of a data set embedded on a Ray cluster, by Ray Data: it places the workers, starts more where work waits, holds work
back where a worker is busy, and does a shard again elsewhere when a worker or its machine dies. Needs the extra ``umekomi[ray]``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import ray
import ray.data

from ..data.embedded_file import TooLong
from ..settings import current
from .shard_inputs import Shard
from .sharded import Runner
from .shards import ShardJob, ShardResult, ShardWorker

_RESULTS = ("rows", "tokens", "rejected", "repeated", "digest")


class _Actor:
    """One worker on one machine: it loads the model once and embeds shards until there are no more."""

    def __init__(self, job: dict[str, Any], threads: int) -> None:
        mine = current()
        # As many threads as cores were given: several workers on a machine would otherwise each take all of it.
        settings = mine if mine.threads else replace(mine, threads=threads)
        self._worker = ShardWorker(ShardJob(**{**job, "too_long": TooLong(job["too_long"])}), settings=settings)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        done = [
            self._worker(Shard(str(source), str(identity), int(first), int(count)))
            for source, identity, first, count in zip(
                rows["source"], rows["identity"], rows["first_row"], rows["n_rows"], strict=True
            )
        ]
        plain = [{**asdict(row.shard), **{name: getattr(row, name) for name in _RESULTS}} for row in done]
        return {key: [row[key] for row in plain] for key in plain[0]}


def make_ray_runner(address: str = "auto", *, workers: int = 0, cpus: float = 1.0) -> Runner:
    """A runner for :func:`umekomi.pipeline.sharded.embed_sharded`.

    Args:
        address: as ``ray.init`` takes it; ``auto`` is the cluster that this machine is part of, ``local`` starts one here.
        workers: at most so many at a time; 0 for as many as the cluster has room for.
        cpus: cores that each worker is given.
    """

    def run(job: ShardJob, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        if not shards:
            return
        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
            ray.init(
                address=None if address == "local" else address, log_to_driver=False, logging_level=logging.WARNING
            )
        ray.data.DataContext.get_current().enable_progress_bars = False
        resources: Any = ray.cluster_resources
        most = workers or max(1, int(resources().get("CPU", 1) // cpus))
        rows = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=len(shards))
        plain = {**asdict(job), "too_long": job.too_long.value}
        made = rows.map_batches(
            _Actor,
            fn_constructor_kwargs={"job": plain, "threads": max(1, int(cpus))},
            batch_size=1,
            num_cpus=cpus,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(shards))),
        )
        for row in made.iter_rows():
            shard = Shard(row["source"], row["identity"], int(row["first_row"]), int(row["n_rows"]))
            rows_out, tokens, rejected, repeated = (int(row[name]) for name in _RESULTS[:-1])
            yield ShardResult(shard, rows_out, tokens, rejected, repeated, str(row["digest"]))

    return run
