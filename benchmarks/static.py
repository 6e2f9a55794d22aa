"""Static models: texts per second beside model2vec, in the same process, with the same folder.

``pip install model2vec==0.10.0``, then ``python benchmarks/static.py FOLDER TEXTS.csv``. FOLDER is a model2vec folder, such as
minishlab/potion-base-8M. TEXTS.csv has a column ``Text``; its sentences are the short texts. The runs alternate, and the best of
each method is printed, in texts per second and in CPU time, because other work on the machine only slows runs down. The maximum
length is switched off in model2vec, because Umekomi never truncates.
"""

import csv
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from model2vec import StaticModel

from umekomi import Embedder

ROUNDS = 40


def measure(embed: Callable[[list[str]], object], texts: list[str]) -> tuple[float, float]:
    """Return the texts per second, and the CPU time in milliseconds per 1,000 texts."""
    start, cpu = time.perf_counter(), time.process_time()
    embed(texts)
    return len(texts) / (time.perf_counter() - start), 1e6 * (time.process_time() - cpu) / len(texts)


def main(folder: str, file: str) -> None:
    with Path(file).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    peer = StaticModel.from_pretrained(folder, max_length=None)
    embedder = Embedder(folder)
    encoder = embedder._encoders[0]
    methods: dict[str, Callable[[list[str]], object]] = {
        "model2vec": peer.encode,
        "umekomi, encoder": encoder.encode,
        # Also checks inputs.
        "umekomi, Embedder.embed": embedder.embed,
    }
    texts = [row["Text"] for row in rows]
    sets = {
        "sentences": [part for part in re.split(r"[.!?]+", " ".join(texts)) if part.strip()],
        "texts": texts,
        "one text at a time": texts,
    }
    for name, texts in sets.items():
        left, right = np.asarray(peer.encode(texts), dtype=np.float64), encoder.encode(texts).astype(np.float64)
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        cosines = (left * right).sum(axis=1)[norms > 0] / norms[norms > 0]
        results: dict[str, list[tuple[float, float]]] = {method: [] for method in methods}
        for _ in range(ROUNDS):
            for method, embed in methods.items():
                one_by_one = name.startswith("one")
                call = (lambda batch, f=embed: [f([text]) for text in batch]) if one_by_one else embed
                results[method].append(measure(call, texts))
        print(f"{name}: {len(texts):,} texts, lowest cosine {cosines.min():.6f}")
        for method, values in results.items():
            rate, cpu = max(rate for rate, _ in values), min(cpu for _, cpu in values)
            print(f"  {method:24} {rate:10,.0f} texts/s {cpu:8.1f} ms CPU per 1,000 texts")


if __name__ == "__main__":
    main(*sys.argv[1:])
