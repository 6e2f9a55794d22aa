"""Whether vectors depend on the other texts in a batch, for each instruction set of the CPU.

    python benchmarks/same_bytes.py [--limits AVX2 AVX512_CORE_BF16] [--heads 8 32] [--threads 1 2] [--json]

Each instruction set is tested in a separate process that is limited by ONEDNN_MAX_CPU_ISA (kernels of oneDNN) and OV_CPU_MAX_ISA
(kernels and capabilities of OpenVINO). With only one of the two variables, some kernels would not change. Small models with
random weights and several head sizes embed texts of several lengths alone and in batches of 2, 5 and 17 texts. "OpenVINO" is the
graph in the given precision with any batches. "Umekomi" is the precision and the batch size that Umekomi chooses. The last column
contains the kernels of the matrix products and of attention.

With --products, the program prints instead which kernels single products run on, by the number of tokens, for those weights
where the kernel depends on it or a row of the result differs from that of 512 tokens: in bf16 if the CPU supports it, otherwise
in fp32. The last column has the numbers of tokens that differ when the activation is computed apart from the product.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from machine import describe_machine
from umekomi.encoders.transformer.backends.base import Batch
from umekomi.encoders.transformer.backends.openvino import (
    OpenVinoBackend,
    build,
    choose_precision,
    compile_options,
)
from umekomi.encoders.transformer.backends.openvino_fusion import separate_activations
from umekomi.encoders.transformer.backends.openvino_graph import build_graph
from umekomi.encoders.transformer.backends.openvino_import import op, ov
from umekomi.encoders.transformer.batching import plan_batches
from umekomi.encoders.transformer.byte_stability import Mode
from umekomi.encoders.transformer.checkpoint import Checkpoint
from umekomi.encoders.transformer.network.architectures import ARCHITECTURES
from umekomi.encoders.transformer.network.assembly import assemble
from umekomi.encoders.transformer.network.config import TransformerConfig
from umekomi.encoders.transformer.steps import MEAN
from umekomi.settings import Settings, current

LIMITS = {
    "AVX2": "avx2",
    "AVX512_CORE": "avx512f",
    "AVX512_CORE_VNNI": "avx512_vnni",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_FP16": "avx512_fp16",
    "AVX512_CORE_AMX": "amx_bf16",
    "AVX512_CORE_AMX_FP16": "amx_fp16",
}
"""Values of both variables, and the CPU flag that each of them needs."""
HEADS = (8, 16, 24, 32, 48, 64, 80, 128)
LENGTHS = (3, 12, 16, 31, 48, 90)
BATCHES = (2, 5, 17)
N_HEADS, N_WORDS, LAYERS, POSITIONS = 4, 50, 2, 128
N_INPUTS, N_OUTPUTS = (16, 24, 32, 40, 48, 64, 72, 96, 128, 384, 512, 768, 1536), (16, 32, 64, 96, 128, 1536)
N_TOKENS = (1, 2, 4, 8, 12, 16, 17, 20, 32, 33, 48, 64, 100, 256, 512)
Text = np.ndarray


def possible_limits() -> list[str]:
    """Return the instruction sets of this CPU."""
    flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    return [limit for limit, flag in LIMITS.items() if flag in flags]


def make_checkpoint(head: int) -> Checkpoint:
    """Return a model of two layers with four heads of the given size and random weights."""
    random = np.random.default_rng(head)
    hidden = N_HEADS * head
    tensors: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int, mean: float = 0.0, spread: float = 0.3) -> None:
        tensors[name] = random.normal(mean, spread, shape).astype(np.float32)

    add("embeddings.word_embeddings.weight", N_WORDS, hidden)
    add("embeddings.position_embeddings.weight", POSITIONS, hidden)
    add("embeddings.LayerNorm.weight", hidden, mean=1.0, spread=0.1)
    add("embeddings.LayerNorm.bias", hidden, spread=0.1)
    for layer in range(LAYERS):
        start = f"encoder.layer.{layer}."
        for name, n_out, n_in in (
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", 2 * hidden, hidden),
            ("output.dense", hidden, 2 * hidden),
        ):
            add(f"{start}{name}.weight", n_out, n_in, spread=n_in**-0.5)
            add(f"{start}{name}.bias", n_out)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            add(f"{start}{name}.weight", hidden, mean=1.0, spread=0.1)
            add(f"{start}{name}.bias", hidden, spread=0.1)
    config = TransformerConfig("bert", hidden=hidden, layers=LAYERS, heads=N_HEADS, eps=1e-12, positions=POSITIONS)
    return Checkpoint(
        config,
        tensors,
        read=lambda: assemble(ARCHITECTURES["bert"], config, tensors),
        make_tokenizer=_no_tokenizer,
    )


def _no_tokenizer() -> None:
    raise NotImplementedError


def embed(backend: OpenVinoBackend, texts: Sequence[Text]) -> np.ndarray:
    """Return the vectors of texts, in the batches that the encoder would use."""

    def batches() -> Iterable[Batch]:
        lengths = [len(text) for text in texts]
        for indices in plan_batches(lengths, max_tokens=backend.max_tokens, max_rows=backend.max_rows, pad=backend.pad):
            sizes = np.array([lengths[index] for index in indices], dtype=np.int32)
            ids = np.zeros((len(indices), int(backend.pad(sizes[:1].astype(np.int64))[0])), dtype=np.int32)
            for row, index in zip(ids, indices, strict=True):
                row[: len(texts[index])] = texts[index]
            yield indices, (ids, sizes, np.zeros_like(sizes))

    results = list(backend.run(batches()))
    vectors = np.empty((len(texts), results[0][1].shape[1]), dtype=np.float32)
    for indices, rows in results:
        vectors[indices] = rows
    return vectors


def compare(backend: OpenVinoBackend) -> tuple[int, int, float]:
    """Return the number of vectors in batches that were compared with the text alone, the number that differ, and the maximum
    difference.
    """
    random = np.random.default_rng(1)
    n_compared = n_differing = 0
    max_difference = 0.0
    for length in LENGTHS:
        texts = [random.integers(0, N_WORDS, length, dtype=np.int32) for _ in range(max(BATCHES))]
        alone = np.concatenate([embed(backend, [text]) for text in texts[: BATCHES[1]]])
        for size in BATCHES:
            order = random.permutation(size)
            together = embed(backend, [texts[number] for number in order])
            for row, number in enumerate(order):
                if number < len(alone):
                    n_compared += 1
                    if together[row].tobytes() != alone[number].tobytes():
                        n_differing += 1
                        max_difference = max(max_difference, float(np.abs(together[row] - alone[number]).max()))
    return n_compared, n_differing, max_difference


def kernels(checkpoint: Checkpoint, precision: str, settings: Settings) -> str:
    """Return the kernels of matrix products and attention, for batches of one text and of 17 texts."""
    options = {**compile_options(precision, settings), "PERF_COUNT": "YES"}
    request = ov.Core().compile_model(build_graph(checkpoint), "CPU", options).create_infer_request()
    names = set()
    for rows in (1, 17):
        request.infer([np.ones((rows, 12), np.int32), np.full(rows, 12, np.int32), np.zeros(rows, np.int32)])
        names |= {
            node.exec_type
            for node in request.profiling_info
            if node.node_type in ("FullyConnected", "MatMul", "ScaledDotProductAttention", "Subgraph")
        }
    return " ".join(sorted(names))


def measure(heads: Sequence[int], threads: Sequence[int], cache: Path) -> list[dict[str, object]]:
    """Return the rows of the table for the instruction set of this process."""
    rows = []
    for precision in ("fp32", "bf16"):
        for n_threads in threads:
            for head in heads:
                checkpoint = make_checkpoint(head)
                settings = Settings(cache=cache, precision=precision, threads=n_threads)
                chosen = build(checkpoint, settings, steps=MEAN)
                try:
                    options = compile_options(precision, settings)
                    compile_graph = partial(ov.Core().compile_model, build_graph(checkpoint), "CPU", options)
                    raw = OpenVinoBackend(compile_graph, Mode(precision), settings)
                    compared, differing, max_difference = compare(raw)
                    names = kernels(checkpoint, precision, settings)
                except RuntimeError:
                    # Without AVX-512, OpenVINO does not support bf16.
                    compared, differing, max_difference, names = 0, 0, 0.0, "none"
                same = (chosen.precision, chosen.max_rows) == (precision, None)
                rows.append(
                    {
                        "precision": precision,
                        "threads": n_threads,
                        "head": head,
                        "compared": compared,
                        "differing": differing,
                        "max_difference": max_difference,
                        "chosen": chosen.precision + ("" if chosen.max_rows is None else ", one text per batch"),
                        # The same graph with the same batches is not measured twice.
                        "chosen_differing": differing if same else compare(chosen)[1],
                        "kernels": names,
                    }
                )
    return rows


def print_products() -> None:
    """Print the kernels of products that depend on the number of tokens, in the precision that Umekomi would try first."""
    random = np.random.default_rng(0)
    precision = choose_precision("auto")
    options = compile_options(precision, replace(current(), threads=1)) | {"PERF_COUNT": "YES"}
    print(f"{precision}\n")
    print(
        "| inputs | outputs | tokens by kernel | numbers of tokens with other bytes | the same with the activation apart |"
    )
    print("| ---: | ---: | --- | --- | --- |")
    for n_in in N_INPUTS:
        tokens = random.normal(0, 1, (1, N_TOKENS[-1], n_in)).astype(np.float32)
        for n_out in N_OUTPUTS:
            weight, bias = (random.normal(0, 0.3, shape).astype(np.float32) for shape in ((n_out, n_in), (1, 1, n_out)))
            kernels, other = run_product(tokens, weight, bias, options)
            if len(kernels) > 1 or other:
                cell = "; ".join(f"{kernel}: {' '.join(counts)}" for kernel, counts in kernels.items())
                _, apart = run_product(tokens, weight, bias, options, change=separate_activations)
                print(
                    f"| {n_in} | {n_out} | {cell} | {' '.join(other) or 'none'} | {' '.join(apart) or 'none'} |",
                    flush=True,
                )


def run_product(
    tokens: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    options: dict[str, str],
    *,
    change: Callable[[ov.Model], None] = lambda graph: None,
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the numbers of tokens by the kernel of the product, and those with other bytes than all tokens together."""
    state = op.parameter([-1, -1, weight.shape[1]], ov.Type.f32)
    # With operations before and after it, as in a model.
    product = op.relu(op.add(op.matmul(op.relu(state), op.constant(weight), False, True), op.constant(bias)))
    graph = ov.Model([product], [state])
    change(graph)
    request = ov.Core().compile_model(graph, "CPU", options).create_infer_request()
    kernels: dict[str, list[str]] = {}
    results = {}
    for n in N_TOKENS:
        results[n] = request.infer([tokens[:, :n]])[0].copy()
        kernel = next(node.exec_type for node in request.profiling_info if node.node_type == "FullyConnected")
        kernels.setdefault(kernel, []).append(str(n))
    expected = results[N_TOKENS[-1]]
    return kernels, [str(n) for n, result in results.items() if result.tobytes() != expected[:, :n].tobytes()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limits", nargs="+", choices=LIMITS, help="by default all instruction sets of this CPU")
    parser.add_argument("--heads", nargs="+", type=int, default=HEADS)
    parser.add_argument("--threads", nargs="+", type=int, default=(1, 2))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--products", action="store_true", help="only the kernels of products by the number of tokens")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.products:
        print_products()
        return
    with tempfile.TemporaryDirectory() as cache:
        if options.measure:
            capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            rows = measure(options.heads, options.threads, Path(cache))
            print(json.dumps({"capabilities": capabilities, "auto": choose_precision("auto"), "rows": rows}))
            return
    results = {}
    for limit in options.limits or possible_limits():
        print(f"{limit} …", file=sys.stderr)
        command = [sys.executable, __file__, "--measure", "--heads", *map(str, options.heads)]
        command += ["--threads", *map(str, options.threads)]
        environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit, "OV_CPU_MAX_ISA": limit}
        output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        results[limit] = json.loads(output)
    if options.json:
        print(json.dumps(results))
        return
    print(f"{describe_machine()}\nOpenVINO {ov.__version__}\n")
    print(
        "| limit | precision | threads | head size | compared | differing in OpenVINO | Umekomi uses | differing | kernels |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | --- |")
    for limit, result in results.items():
        for row in result["rows"]:
            differing = f"{row['differing']} (by {row['max_difference']:.0e})" if row["differing"] else "0"
            print(
                f"| {limit} | {row['precision']} | {row['threads']} | {row['head']} | {row['compared']} | {differing} "
                f"| {row['chosen']} | {row['chosen_differing']} | {row['kernels']} |"
            )


if __name__ == "__main__":
    main()
