"""``umekomi embed`` of many files to a folder of shards."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tqdm import tqdm

from ...data.embedded_file import describe_renamed
from ...embedder import Embedder
from ...extras import import_optional
from ...pipeline.sharded import Runner, embed_sharded
from ...pipeline.shards import ShardJob
from ..output import TransferBar, echo, echo_err


def run(
    sources: Sequence[str],
    job: ShardJob,
    *,
    ray: str | None,
    changed_only: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Embed, show progress, print the summary; the exit status is 1 if rows could not be embedded."""
    bar = tqdm(unit=" texts", disable=quiet, file=sys.stderr, delay=0.5, smoothing=0.05)
    dims = 0

    def set_total(n_rows: int) -> None:
        bar.total = n_rows

    def load() -> Embedder:
        nonlocal dims
        embedder = Embedder(job.model, report=echo_err, transfer=TransferBar())
        dims = embedder.dims
        return embedder

    try:
        with bar:
            summary = embed_sharded(
                sources,
                job,
                embedder=load,
                run=_runner(ray),
                changed_only=changed_only,
                overwrite=overwrite,
                set_total=set_total,
                progress=bar.update,
            )
    except KeyboardInterrupt:
        echo_err("Interrupted. Finished work is kept; continue with the same command.")
        return 130
    if summary.renamed_columns:
        echo_err(describe_renamed(summary.renamed_columns))
    if as_json:
        echo(json.dumps(asdict(summary), ensure_ascii=False))
    else:
        echo(
            f"{summary.output}: {summary.rows:,} vectors of {dims} dimensions by {summary.model} in "
            f"{summary.shards:,} shards ({summary.new_shards:,} of this run), {summary.tokens:,} tokens, {summary.seconds:.1f} s"
        )
        if summary.repeated:
            echo(f"{summary.repeated:,} texts came again and were not embedded again.")
    if summary.rejected:
        echo_err(f"{summary.rejected:,} rows could not be embedded; {summary.output.rstrip('/')}/_rejected/ says why.")
        return 1
    return 0


def _runner(address: str | None) -> Runner | None:
    if address is None:
        return None
    # Ray takes seconds to load.
    cluster = import_optional("umekomi.pipeline.ray_runner", "--ray")
    runner: Runner = cluster.make_ray_runner(address)
    return runner
