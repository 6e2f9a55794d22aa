"""Embeds shards on a Ray cluster with Ray Data. Requires the extra ``umekomi[ray]``.

Ray Data places the workers, starts more of them while shards are waiting, sends no more work to a busy worker, and repeats a
shard elsewhere if a worker or its machine dies.
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
from ..vectors.arrow import VectorType
from .shard_inputs import Shard
from .sharded import Runner
from .shards import ShardJob, ShardResult, ShardWorker

_RESULT_FIELDS = ("rows", "tokens", "rejected", "repeated", "digest")


class _Actor:
    """A worker on one machine. It loads the model once."""

    def __init__(self, job: dict[str, Any], threads: int) -> None:
        job = {**job, "too_long": TooLong(job["too_long"]), "vectors": VectorType(job["vectors"])}
        settings = current()
        if not settings.threads:
            # One thread per assigned core: otherwise each of several workers on a machine would use all of its cores.
            settings = replace(settings, threads=threads)
        self._worker = ShardWorker(ShardJob(**job), settings=settings)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        shards = zip(rows["source"], rows["identity"], rows["first_row"], rows["n_rows"], strict=True)
        results = [
            self._worker(Shard(str(source), str(identity), int(first), int(n))) for source, identity, first, n in shards
        ]
        plain = [
            {**asdict(result.shard), **{name: getattr(result, name) for name in _RESULT_FIELDS}} for result in results
        ]
        return {key: [row[key] for row in plain] for key in plain[0]}


def make_ray_runner(address: str = "auto", *, workers: int = 0, cpus: float = 1.0) -> Runner:
    """Return a runner for :func:`umekomi.pipeline.sharded.embed_sharded`.

    Args:
        address: Address for ``ray.init``. ``auto`` is the cluster that this machine is part of; ``local`` starts Ray here.
        workers: Maximum number of concurrent workers. 0 uses all available CPUs.
        cpus: Number of CPU cores that each worker gets.
    """

    def run(job: ShardJob, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        if not shards:
            return
        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray must not report usage statistics
            ray.init(
                address=None if address == "local" else address, log_to_driver=False, logging_level=logging.WARNING
            )
        ray.data.DataContext.get_current().enable_progress_bars = False
        resources: Any = ray.cluster_resources
        max_workers = workers or max(1, int(resources().get("CPU", 1) // cpus))
        rows = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=len(shards))
        plain_job = {**asdict(job), "too_long": job.too_long.value, "vectors": job.vectors.value}
        results = rows.map_batches(
            _Actor,
            fn_constructor_kwargs={"job": plain_job, "threads": max(1, int(cpus))},
            batch_size=1,
            num_cpus=cpus,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(max_workers, len(shards))),
        )
        for row in results.iter_rows():
            shard = Shard(row["source"], row["identity"], int(row["first_row"]), int(row["n_rows"]))
            n_rows, n_tokens, n_rejected, n_repeated = (int(row[name]) for name in _RESULT_FIELDS[:-1])
            yield ShardResult(shard, n_rows, n_tokens, n_rejected, n_repeated, str(row["digest"]))

    return run
