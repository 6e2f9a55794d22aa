"""How fast are texts encoded? all-MiniLM-L6-v2 here and in its peers, same weights and texts, side by side in one run.

    make bench                                (or, in an environment with benchmarks/requirements.txt)
    python benchmarks/encode.py [--rounds 3] [--reviews ../shared/data/fine_food_reviews_1k.csv]

Each engine runs in a process of its own with two threads; they take turns, round by round, and the best round of each
counts, since other work on the machine only ever makes one slower. Peak memory is the process's own. The cosine is the
mean and the least over the texts to sentence-transformers in fp32. Texts are cut to MiniLM's window of 256 tokens first,
so that all engines are given the same work.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from umekomi.assets import AssetStore
from umekomi.catalog import load_catalog
from umekomi.embedder import Embedder
from umekomi.encoders import build_encoder
from umekomi.settings import current

THREADS = 2
ENGINES = {
    "umekomi": "**Umekomi** (OpenVINO)",
    "umekomi-fp32": "Umekomi, fp32",
    "onnxruntime": "ONNX Runtime, fp32",
    "sentence-transformers": "sentence-transformers, torch fp32",
    "fastembed": "fastembed (ONNX Runtime, fp32)",
}
Encode = Callable[[list[str]], np.ndarray]


def model_folder(folder: Path) -> Path:
    """The files of all-MiniLM-L6-v2 under the names that every library knows."""
    catalog, store = load_catalog(), AssetStore(current())
    for name in ("weights", "config", "tokenizer"):
        asset = catalog.assets[f"minilm-{name}"]
        target = folder / asset.file
        if not target.exists():
            target.symlink_to(store.path(asset))
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"})
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512})
    )
    return folder


def load(engine: str, folder: Path) -> Encode:
    """The engine, loaded: a function from texts to vectors."""
    if engine.startswith("umekomi"):
        catalog = load_catalog()
        spec = catalog.encoders["all-MiniLM-L6-v2"]
        part = catalog.model("text-embedding-ada-002").parts[0]
        files = {purpose: AssetStore(current()).path(catalog.assets[name]) for purpose, name in spec.assets.items()}
        precision = "fp32" if engine.endswith("fp32") else "auto"
        encoder = build_encoder(spec, part, files, replace(current(), threads=THREADS, precision=precision))
        return lambda texts: encoder.encode(texts)
    if engine == "sentence-transformers":
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(THREADS)
        model = SentenceTransformer(str(folder), device="cpu")
        model.max_seq_length = 256
        return lambda texts: model.encode(texts, normalize_embeddings=True)
    if engine == "onnxruntime":
        return _onnxruntime(folder)
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="minilm-of-this-benchmark", pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf="none"),
        dim=384, model_file="model.onnx",
    )  # fmt: skip
    model = TextEmbedding("minilm-of-this-benchmark", specific_model_path=str(folder), threads=THREADS)
    return lambda texts: np.stack(list(model.embed(texts)))


def _onnxruntime(folder: Path) -> Encode:
    """As its users do it: batches of 32 texts in order of length, padded to the longest, mean pooling in numpy."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    names = {node.name for node in session.get_inputs()}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()

    def encode(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), 32):
            places = order[start : start + 32]
            batch = tokenizer.encode_batch([texts[place] for place in places])
            ids = np.array([encoding.ids for encoding in batch], dtype=np.int64)
            mask = np.array([encoding.attention_mask for encoding in batch], dtype=np.int64)
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            hidden = session.run(None, {name: value for name, value in inputs.items() if name in names})[0]
            mean = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None]
            vectors[places] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return vectors

    return encode


def export_onnx(folder: Path) -> None:
    """all-MiniLM-L6-v2 as an ONNX file, from the same weights."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]

    ids = torch.ones((2, 16), dtype=torch.int64)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "length"} for name in [*names, "last_hidden_state"]}
    torch.onnx.export(
        Hidden(), (ids, ids, ids * 0), str(folder / "model.onnx"), input_names=names, output_names=["last_hidden_state"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip


def peak_megabytes() -> float:
    """The most memory that this process has held. (``getrusage`` would also count its parent before the fork.)"""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def work(engine: str, folder: Path, texts_file: Path) -> None:
    """What an engine's process does: load, then one round for each line of standard input."""
    texts = json.loads(texts_file.read_text("utf-8"))
    encode = load(engine, folder)
    encode(texts[:64])
    for _ in sys.stdin:
        began = time.perf_counter()
        vectors = encode(texts)
        seconds = time.perf_counter() - began
        np.save(folder / f"{engine}.npy", vectors)
        peak = peak_megabytes()
        print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


def compare(texts: list[str], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = model_folder(Path(name))
        export_onnx(folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(256)
        cut = []
        for text in texts:
            offsets = tokenizer.encode(text).offsets
            cut.append(text[: max(stop for _, stop in offsets)])
        tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch(cut))
        (folder / "texts.json").write_text(json.dumps(cut))
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(THREADS),
            "TOKENIZERS_PARALLELISM": "true",
            "HF_HUB_OFFLINE": "1",
        }
        workers = {
            engine: subprocess.Popen(
                [sys.executable, __file__, "--worker", engine, str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
            )
            for engine in ENGINES
        }  # fmt: skip
        results: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
        for number in range(rounds):
            for engine, worker in workers.items():
                print(f"round {number + 1} of {rounds}: {engine}", file=sys.stderr)
                worker.stdin.write("go\n")
                worker.stdin.flush()
                results[engine].append(json.loads(worker.stdout.readline()))
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
        reference = np.load(folder / "sentence-transformers.npy")
        best = {engine: min(row["seconds"] for row in rows) for engine, rows in results.items()}
        print(
            f"all-MiniLM-L6-v2, {len(texts):,} reviews, {tokens:,} tokens, {THREADS} threads, best of {rounds} rounds\n"
        )
        print("| engine | texts/s | tokens/s | Umekomi is faster by | peak MB | cosine to fp32, mean / least |")
        print("| --- | ---: | ---: | ---: | ---: | --- |")
        for engine, title in ENGINES.items():
            cosine = (np.load(folder / f"{engine}.npy") * reference).sum(axis=1)
            peak = max(row["peak_mb"] for row in results[engine])
            print(
                f"| {title} | {len(texts) / best[engine]:.0f} | {tokens / best[engine]:,.0f} "
                f"| {best[engine] / best['umekomi']:.2f}× | {peak:.0f} | {cosine.mean():.5f} / {cosine.min():.5f} |"
            )


def whole_model(texts: list[str], rounds: int) -> None:
    embedder = Embedder(settings=replace(current(), threads=THREADS))
    tokens = sum(embedder.prepare(texts).n_tokens)
    embedder.embed(texts[:64])
    parts = [(part.encoder, encoder) for part, encoder in zip(embedder.card.parts, embedder._encoders, strict=True)]
    calls = {name: (lambda encoder=encoder: encoder.encode(texts)) for name, encoder in parts}
    calls["**the whole model**"] = lambda: embedder.embed(texts)
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - began)
    print(f"\n{embedder.model}, {len(texts):,} reviews, {tokens:,} tokens of its own, nothing cut\n")
    print("| part | texts/s | tokens/s | share of the time |\n| --- | ---: | ---: | ---: |")
    total = best["**the whole model**"]
    for name, seconds in best.items():
        print(f"| {name} | {len(texts) / seconds:,.0f} | {tokens / seconds:,.0f} | {seconds / total:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reviews", type=Path, default=Path("../shared/data/fine_food_reviews_1k.csv"))
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        engine, folder = arguments.worker
        work(engine, Path(folder), Path(folder) / "texts.json")
        return
    if not arguments.reviews.is_file():
        sys.exit(
            f"There is no file {arguments.reviews}: say where the reviews are with --reviews (columns Summary and Text)."
        )
    with arguments.reviews.open(encoding="utf-8", newline="") as stream:
        texts = [f"Title: {row['Summary'].strip()}; Content: {row['Text'].strip()}" for row in csv.DictReader(stream)]
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    print(
        f"{cpu}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n"
    )
    compare(texts, arguments.rounds)
    whole_model(texts, arguments.rounds)


if __name__ == "__main__":
    main()
