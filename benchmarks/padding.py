"""Padding and batch shapes of the transformers for several bucket widths, and what new shapes cost.

    python benchmarks/padding.py [--reviews ../shared/data/fine_food_reviews_1k.csv] [--rounds 3] [--threads 2]

Texts are padded to the upper end of their length bucket (``umekomi/encoders/transformer/batching.py``). Narrow buckets need less
padding, but a batch contains texts of one bucket only, so there are more and smaller batches. The shape of a batch is its number
of texts and its padded length. OpenVINO compiles attention for each shape, and dense layers for each number of tokens in a batch
(rows × length), when a batch has it for the first time. The first table only counts, so it is the same on every machine.

The second table compares the first pass over the texts, in which all shapes are new, with later ones. Each first pass is in a
process of its own, which has loaded the vocabulary and embedded one text beforehand. The best of several rounds counts. On a
machine with other work, CPU seconds are more reliable.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from machine import describe_machine, describe_peak, read_reviews
from umekomi.assets.store import AssetStore
from umekomi.catalog import Part, load_catalog
from umekomi.encoders import build_encoder
from umekomi.encoders.base import Encoder
from umekomi.encoders.transformer import batching
from umekomi.settings import current

BUCKET_WIDTHS = (1, 2, 4, 8, 16, 32)


def find_parts() -> Iterator[Part]:
    """Yield a part of the catalog for each transformer whose files exist."""
    catalog, store = load_catalog(), AssetStore(current())
    for name, spec in catalog.encoders.items():
        files = [store.find(catalog.assets[asset]) for asset in spec.assets.values()]
        if spec.type == "transformer" and None not in files:
            yield next(part for card in catalog.models.values() for part in card.parts if part.encoder == name)


def load(part: Part, threads: int) -> Encoder:
    catalog, store = load_catalog(), AssetStore(current())
    spec = catalog.encoders[part.encoder]
    files = {purpose: store.path(catalog.assets[asset]) for purpose, asset in spec.assets.items()}
    return build_encoder(spec, part, files, replace(current(), threads=threads))


def print_padding(part: Part, texts: list[str], threads: int) -> None:
    """Print the rows of an encoder in the first table, one for each bucket width."""
    lengths = load(part, threads).lengths(texts)
    for width in BUCKET_WIDTHS:
        pad = partial(batching.padded_lengths, bucket=width)
        padded = pad(np.array(lengths))
        batches = list(batching.plan_batches(lengths, max_tokens=current().batch_tokens, pad=pad))
        shapes = {(len(batch), int(padded[batch[0]])) for batch in batches}
        padding = f"{1 - sum(lengths) / padded.sum():.2%}"
        bold = "**" if width == batching.BUCKET else ""
        numbers = (width, padding, len(batches), len(shapes), len({rows * length for rows, length in shapes}))
        cells = [f"{bold}{number}{bold}" for number in numbers]
        print(f"| {part.encoder} | {sum(lengths):,} | {' | '.join(cells)} |")


def measure_passes(part: Part, texts: list[str], threads: int) -> None:
    """Print the wall-clock and CPU seconds of the first pass and of the best of two later ones, as JSON."""
    encoder = load(part, threads)
    encoder.warm_up()
    encoder.encode(texts[:1])
    passes = []
    for _ in range(3):
        start, cpu_start = time.perf_counter(), time.process_time()
        encoder.encode(texts)
        passes.append((time.perf_counter() - start, time.process_time() - cpu_start))
    print(json.dumps([passes[0], np.min(passes[1:], axis=0).tolist()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=Path, default=Path("../shared/data/fine_food_reviews_1k.csv"))
    parser.add_argument("--rounds", type=int, default=3, help="processes per encoder for the second table; 0 omits it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="one encoder")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    texts = read_reviews(options.reviews)
    parts = [part for part in find_parts() if options.only in (None, part.encoder)]
    if options.measure:
        measure_passes(parts[0], texts, options.threads)
        return
    print(f"{len(texts):,} reviews, at most {current().batch_tokens:,} tokens in a batch; the width in use is bold\n")
    print("| encoder | tokens | bucket width | padding | batches | shapes | numbers of tokens |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for part in parts:
        print_padding(part, texts, options.threads)
    if not options.rounds:
        return
    print(f"\n{describe_machine()}, {options.threads} threads, best of {options.rounds} rounds\n{describe_peak()}\n")
    print("| encoder | first pass, s | later, s | quotient | first pass, CPU s | later, CPU s | quotient |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    command = [
        sys.executable,
        __file__,
        "--measure",
        "--reviews",
        str(options.reviews),
        "--threads",
        str(options.threads),
    ]
    for part in parts:
        rounds = []
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}: {part.encoder}", file=sys.stderr)
            worker = subprocess.run([*command, "--only", part.encoder], check=True, stdout=subprocess.PIPE, text=True)
            rounds.append(json.loads(worker.stdout))
        (first, first_cpu), (later, later_cpu) = np.min(rounds, axis=0)
        print(
            f"| {part.encoder} | {first:.2f} | {later:.2f} | {first / later:.3f} | {first_cpu:.2f} | {later_cpu:.2f} "
            f"| {first_cpu / later_cpu:.3f} |"
        )


if __name__ == "__main__":
    main()
