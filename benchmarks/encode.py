"""How fast are texts encoded, here and in the peers: same weights and texts, side by side in one run.

    make bench                                (or, in an environment with benchmarks/requirements.txt)
    python benchmarks/encode.py [--rounds 3] [--reviews FILE] [--count 1000] [--only ENGINE …] [--python ENGINE=PROGRAM] …

Each engine runs in a process of its own with two threads; they take turns, round by round, and the best round of each counts,
since other work on the machine only ever makes one slower. CPU seconds (of all threads) are beside, which other work moves
less. Peak memory is the process's own. Texts are cut to MiniLM's window of 256 tokens first, so that all engines are given the
same work. The cosine is the mean and the least over the texts: of MiniLM to sentence-transformers in fp32, of e5 to our own fp32.
An engine that cannot be loaded is named on standard error and left out. infinity-emb and optimum
(sentence-transformers' OpenVINO and ONNX backends) want older libraries than the rest: give them environments of their own
(``infinity-requirements.txt``, ``optimum-requirements.txt``), as --python infinity=.venv-infinity/bin/python. `make bench` does.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from encode_engines import ENGINES, MINILM, REFERENCE, THREADS
from machine import describe_machine, read_reviews
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.embedder import Embedder
from umekomi.settings import current


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


class Worker:
    """An engine's process."""

    def __init__(self, engine: str, program: str, folder: Path) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), str(THREADS))
        environment = {
            **os.environ, **threads, "UMEKOMI_BENCH_THREADS": str(THREADS), "TOKENIZERS_PARALLELISM": "true",
            "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "UMEKOMI_TUNED": "0",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [program, str(Path(__file__).with_name("encode_engines.py")), engine, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        self.answers: list[dict[str, float]] = []

    def read(self) -> dict[str, float | str]:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"it ended with status {self._process.wait()}"}

    def take_turn(self) -> None:
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.answers.append(self.read())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def compare(model: str, texts: list[str], folder: Path, asked: argparse.Namespace) -> None:
    """The table of a model: a row an engine, the fastest first."""
    programs = dict(pair.split("=", 1) for pair in asked.python)
    (folder / "texts.json").write_text(json.dumps(texts))
    workers: dict[str, Worker] = {}
    for engine, (title, _) in ENGINES[model].items():
        if asked.only and engine not in asked.only:
            continue
        # One after another: some write files into the folder as they load.
        worker = Worker(engine, programs.get(engine, sys.executable), folder)
        first = worker.read()
        if "error" in first:
            print(f"{title} is left out: {first['error']}", file=sys.stderr)
        else:
            workers[engine] = worker
    for number in range(asked.rounds):
        for engine, worker in workers.items():
            print(f"round {number + 1} of {asked.rounds}: {engine}", file=sys.stderr)
            worker.take_turn()
    for worker in workers.values():
        worker.close()
    if not workers:
        return
    best = {engine: min(row["seconds"] for row in worker.answers) for engine, worker in workers.items()}
    ours = next(iter(ENGINES[model]))
    reference = folder / f"{REFERENCE[model]}.npy"
    right = np.load(reference) if reference.is_file() else None
    tokens = asked.tokens if model == MINILM else None
    counted = f"{tokens:,} tokens, " if tokens else ""
    print(f"\n{model}, {len(texts):,} reviews, {counted}{THREADS} threads, best of {asked.rounds} rounds\n")
    print(
        f"| engine | texts/s | CPU s | {'Umekomi' if ours in best else 'the first'} is faster by | peak MB "
        f"| cosine to {ENGINES[model][REFERENCE[model]][0].strip('*')}, mean / least |"
    )
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for engine in sorted(best, key=best.__getitem__):
        cosine = None if right is None else (np.load(folder / f"{engine}.npy") * right).sum(axis=1)
        print(
            f"| {ENGINES[model][engine][0]} | {len(texts) / best[engine]:.0f} "
            f"| {min(row['cpu_seconds'] for row in workers[engine].answers):.1f} "
            f"| {best[engine] / best.get(ours, min(best.values())):.2f}× "
            f"| {max(row['peak_mb'] for row in workers[engine].answers):.0f} "
            f"| {'–' if cosine is None else f'{cosine.mean():.5f} / {cosine.min():.5f}'} |"
        )


def cut(texts: list[str], folder: Path) -> tuple[list[str], int]:
    """Each text to MiniLM's window, and the tokens of all."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    short = [text[: max(stop for _, stop in tokenizer.encode(text).offsets)] for text in texts]
    return short, sum(len(encoding.ids) for encoding in tokenizer.encode_batch(short))


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
    parser.add_argument("--count", type=int, default=1000, help="so many of the reviews")
    parser.add_argument("--reviews", type=Path, default=Path("../shared/data/fine_food_reviews_1k.csv"))
    names = [engine for table in ENGINES.values() for engine in table]
    parser.add_argument("--only", nargs="+", choices=names, default=[], help="these engines, and not the whole model")
    parser.add_argument(
        "--python", action="append", default=[], metavar="ENGINE=PROGRAM", help="another Python for an engine"
    )
    asked = parser.parse_args()
    texts = read_reviews(asked.reviews)[: asked.count]
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        folder = model_folder(Path(name))
        if {"onnxruntime", "fastembed"} & set(asked.only or names):
            if find_spec("torch") and find_spec("onnx"):
                export_onnx(folder)
            else:
                print("Without torch and onnx there is no model.onnx for ONNX Runtime and fastembed.", file=sys.stderr)
        short, asked.tokens = cut(texts, folder)
        for model, table in ENGINES.items():
            if not asked.only or set(table) & set(asked.only):
                compare(model, short, folder, asked)
    if not asked.only:
        whole_model(texts, asked.rounds)


if __name__ == "__main__":
    main()
