"""``umekomi embed`` with a folder of shards as the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ....data.embedded_file import describe_renamed
from ....embedder import Embedder
from ....extras import import_optional
from ....pipeline.sharded import Runner, embed_sharded
from ....pipeline.shards import SHARD_ROWS, ShardJob
from ...options import integer_option, load_embedder
from ...output import create_bar, echo, echo_err, print_json

shard_rows_option = integer_option(
    "--shard-rows", minimum=1, default=SHARD_ROWS, help="Rows per file, if the output is a folder."
)


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
    """Embed, show progress, and print a summary. The exit status is 1 if some rows could not be embedded."""
    bar = create_bar(quiet=quiet)
    dims = 0

    def set_total(n_rows: int) -> None:
        bar.total = n_rows

    def load() -> Embedder:
        nonlocal dims
        embedder = load_embedder(job.model)
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
        echo_err("Interrupted. Finished work is kept. Run the same command again to continue.")
        return 130
    if summary.renamed_columns:
        echo_err(describe_renamed(summary.renamed_columns))
    if as_json:
        print_json(asdict(summary))
    else:
        echo(
            f"{summary.output}: {summary.rows:,} vectors of {dims} dimensions by {summary.model} in "
            f"{summary.shards:,} shards ({summary.new_shards:,} new), {summary.tokens:,} tokens, {summary.seconds:.1f} s"
        )
        if summary.repeated:
            echo(f"{summary.repeated:,} repeated texts were embedded only once.")
    if summary.rejected:
        echo_err(
            f"{summary.rejected:,} rows could not be embedded. See {summary.output.rstrip('/')}/_rejected/ for the reasons."
        )
        return 1
    return 0


def _runner(address: str | None) -> Runner | None:
    if address is None:
        return None
    # Imported lazily, because Ray takes seconds to load.
    cluster = import_optional("umekomi.pipeline.ray_runner", "--ray")
    runner: Runner = cluster.make_ray_runner(address)
    return runner
