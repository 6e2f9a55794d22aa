"""Embeds a folder on a simulated Ray cluster of two machines, and kills the second one during the run."""

import json
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from umekomi import Embedder
from umekomi.pipeline.ray_runner import make_ray_runner
from umekomi.pipeline.sharded import embed_sharded
from umekomi.pipeline.shards import ShardJob


def main() -> None:
    source, output, facts = sys.argv[1:4]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    second = cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    nodes = len(ray.nodes())
    killed = threading.Event()

    def progress(n_rows: int) -> None:
        if not killed.is_set():
            killed.set()
            cluster.remove_node(second, allow_graceful=False)

    job = ShardJob(output, "umekomi-fake", shard_rows=32)
    summary = embed_sharded(
        [source], job, embedder=Embedder("umekomi-fake"), run=make_ray_runner(workers=4), progress=progress
    )
    for _ in range(60):  # Ray takes some seconds to detect that a machine is gone
        alive = sum(node["Alive"] for node in ray.nodes())
        if alive < nodes:
            break
        time.sleep(1)
    # To a file, because Ray writes to standard output.
    Path(facts).write_text(json.dumps({**asdict(summary), "nodes": nodes, "alive": alive}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
