"""Speed of encoding in Umekomi and other libraries, with the same weights and texts.

    make bench                                (or, with benchmarks/requirements.txt installed)
    python benchmarks/encode.py [--rounds 3] [--reviews FILE] [--count 1000] [--only ENGINE …] [--python ENGINE=PROGRAM] …

Each engine runs in a separate process with two threads. The engines take turns, and the best round of each counts, because other
work on the machine can only make it slower. CPU seconds (of all threads) depend less on other work. Peak memory is that of the
engine's process. Texts are truncated to MiniLM's maximum of 256 tokens first, so that all engines do the same work.

The table contains the mean and the minimum cosine of the vectors to a reference: sentence-transformers in fp32 for MiniLM,
Umekomi in fp32 for e5. Engines that cannot be loaded are reported on standard error and left out.

infinity-emb and optimum (the OpenVINO and ONNX backends of sentence-transformers) need older libraries than the others. Install
them in separate environments (``infinity-requirements.txt``, ``optimum-requirements.txt``) and give their interpreters with
``--python``, as in ``--python infinity=.venv-infinity/bin/python``. `make bench` does this.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from encode_engines import ENGINES, MINILM, REFERENCE, THREADS
from machine import best_times, describe_machine, describe_peak, read_reviews
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.embedder import Embedder
from umekomi.settings import current


def model_folder(folder: Path) -> Path:
    """Link the files of all-MiniLM-L6-v2 under the usual names, and return the folder."""
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
    """Export all-MiniLM-L6-v2 to an ONNX file."""
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
    """The process of an engine."""

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
        self.results: list[dict[str, float]] = []

    def read(self) -> dict[str, float | str]:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"the process ended with status {self._process.wait()}"}

    def run_round(self) -> None:
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.results.append(self.read())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def compare(model: str, texts: list[str], folder: Path, options: argparse.Namespace) -> None:
    """Print the table of a model, with one row per engine, fastest first."""
    programs = dict(pair.split("=", 1) for pair in options.python)
    (folder / "texts.json").write_text(json.dumps(texts))
    workers: dict[str, Worker] = {}
    for engine, (title, _) in ENGINES[model].items():
        if options.only and engine not in options.only:
            continue
        # Not in parallel, because some engines write files into the folder while they are loaded.
        worker = Worker(engine, programs.get(engine, sys.executable), folder)
        response = worker.read()
        if "error" in response:
            print(f"{title} cannot be loaded: {response['error']}", file=sys.stderr)
        else:
            workers[engine] = worker
    for number in range(options.rounds):
        for engine, worker in workers.items():
            print(f"round {number + 1} of {options.rounds}: {engine}", file=sys.stderr)
            worker.run_round()
    for worker in workers.values():
        worker.close()
    if not workers:
        return
    best = {engine: min(row["seconds"] for row in worker.results) for engine, worker in workers.items()}
    ours = next(iter(ENGINES[model]))
    reference = folder / f"{REFERENCE[model]}.npy"
    expected = np.load(reference) if reference.is_file() else None
    tokens = options.tokens if model == MINILM else None
    token_count = f"{tokens:,} tokens, " if tokens else ""
    print(f"\n{model}, {len(texts):,} reviews, {token_count}{THREADS} threads, best of {options.rounds} rounds\n")
    print(
        f"| engine | texts/s | CPU s | time, {'Umekomi' if ours in best else 'fastest'} = 1 | peak MB "
        f"| cosine to {ENGINES[model][REFERENCE[model]][0].strip('*')}, mean / minimum |"
    )
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for engine in sorted(best, key=best.__getitem__):
        cosine = None if expected is None else (np.load(folder / f"{engine}.npy") * expected).sum(axis=1)
        print(
            f"| {ENGINES[model][engine][0]} | {len(texts) / best[engine]:.0f} "
            f"| {min(row['cpu_seconds'] for row in workers[engine].results):.1f} "
            f"| {best[engine] / best.get(ours, min(best.values())):.2f}× "
            f"| {max(row['peak_mb'] for row in workers[engine].results):.0f} "
            f"| {'–' if cosine is None else f'{cosine.mean():.5f} / {cosine.min():.5f}'} |"
        )


def truncate(texts: list[str], folder: Path) -> tuple[list[str], int]:
    """Truncate each text to MiniLM's maximum length; return the texts and their total number of tokens."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    short = [text[: max(stop for _, stop in tokenizer.encode(text).offsets)] for text in texts]
    return short, sum(len(encoding.ids) for encoding in tokenizer.encode_batch(short))


def measure_whole_model(texts: list[str], rounds: int) -> None:
    embedder = Embedder(settings=replace(current(), threads=THREADS))
    tokens = sum(embedder.prepare(texts).n_tokens)
    embedder.embed(texts[:64])
    parts = [(part.encoder, encoder) for part, encoder in zip(embedder.card.parts, embedder._encoders, strict=True)]
    calls = {name: (lambda encoder=encoder: encoder.encode(texts)) for name, encoder in parts}
    calls["**the whole model**"] = lambda: embedder.embed(texts)
    best = best_times(calls, rounds)
    print(f"\n{embedder.model}, {len(texts):,} reviews, {tokens:,} tokens, not truncated\n")
    print("| part | texts/s | tokens/s | share of the time |\n| --- | ---: | ---: | ---: |")
    total = best["**the whole model**"]
    for name, seconds in best.items():
        print(f"| {name} | {len(texts) / seconds:,.0f} | {tokens / seconds:,.0f} | {seconds / total:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000, help="number of reviews")
    parser.add_argument("--reviews", type=Path, default=Path("../shared/data/fine_food_reviews_1k.csv"))
    names = [engine for table in ENGINES.values() for engine in table]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=[], help="only these engines, without the whole model"
    )
    parser.add_argument(
        "--python", action="append", default=[], metavar="ENGINE=PROGRAM", help="Python interpreter of an engine"
    )
    options = parser.parse_args()
    texts = read_reviews(options.reviews)[: options.count]
    print(f"{describe_machine()}\n{describe_peak()}")
    with tempfile.TemporaryDirectory() as name:
        folder = model_folder(Path(name))
        if {"onnxruntime", "fastembed"} & set(options.only or names):
            if find_spec("torch") and find_spec("onnx"):
                export_onnx(folder)
            else:
                print("ONNX Runtime and fastembed need torch and onnx, which export the model.", file=sys.stderr)
        short, options.tokens = truncate(texts, folder)
        for model, table in ENGINES.items():
            if not options.only or set(table) & set(options.only):
                compare(model, short, folder, options)
    if not options.only:
        measure_whole_model(texts, options.rounds)


if __name__ == "__main__":
    main()
