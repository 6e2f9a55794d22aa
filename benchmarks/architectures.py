"""Throughput of architectures at the size of published models, with random weights, against transformers on torch.

    python benchmarks/architectures.py modernbert-base --texts 64 --runs 3

Needs torch and transformers beside Umekomi. All variants compute the same token ids in the same process, in turns: Umekomi in
fp32 and, if the CPU supports it, bf16; transformers with scaled dot-product attention in the same precisions, as torch takes
minutes to emulate bf16 elsewhere, with texts sorted by length and padded to the longest one of their batch. On a busy machine,
`--clock cpu --threads 1` counts the seconds that the thread was given. Prints the median of the tokens per second without
padding, and the smallest cosine to transformers in fp32 (mean pooling).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, processors

from umekomi.encoders.transformer.backends.base import Backend, build_backend
from umekomi.encoders.transformer.batching import plan_batches
from umekomi.encoders.transformer.checkpoint import read_safetensors
from umekomi.encoders.transformer.steps import MEAN
from umekomi.settings import current

MODELS = {
    "bert-base": ("Bert", {"vocab_size": 30522}),
    "modernbert-base": ("ModernBert", {}),
    "nomic-bert": ("NomicBert", {}),
    "qwen3-0.6b": (
        "Qwen3",
        {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
        | {"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 8192},
    ),
    "embeddinggemma-300m": (
        "Gemma3Text",
        {"vocab_size": 262144, "hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 24}
        | {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 256, "sliding_window": 512}
        | {"use_bidirectional_attention": True, "max_position_embeddings": 2048},
    ),
}
BATCH = 32
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def make_model(name: str, folder: Path) -> torch.nn.Module:
    """Write a model with random weights and return it as one of transformers."""
    class_name, settings = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{class_name}Config")(**settings)
    model: torch.nn.Module = getattr(transformers, f"{class_name}Model")(config).eval()
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0}, unk_token="<s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A <s>", special_tokens=[("<s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return model


def run_umekomi(backend: Backend, texts: list[np.ndarray]) -> np.ndarray:
    """Return the vectors of texts, computed in the batches of the encoder."""
    lengths = [len(text) for text in texts]

    def batches():
        for indices in plan_batches(lengths, max_tokens=backend.max_tokens, max_rows=backend.max_rows, pad=backend.pad):
            sizes = np.array([lengths[index] for index in indices], dtype=np.int32)
            ids = np.zeros((len(indices), int(backend.pad(sizes[:1].astype(np.int64))[0])), dtype=np.int32)
            for row, index in zip(ids, indices, strict=True):
                row[: lengths[index]] = texts[index]
            yield indices, (ids, sizes, np.zeros_like(sizes))

    vectors = [(indices, rows) for indices, rows in backend.run(batches())]
    result = np.empty((len(texts), vectors[0][1].shape[1]), dtype=np.float32)
    for indices, rows in vectors:
        result[indices] = rows
    return result


@torch.inference_mode()
def run_transformers(model: torch.nn.Module, texts: list[np.ndarray]) -> np.ndarray:
    """Return the vectors of texts, sorted by length and in batches of 32."""
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
    result: dict[int, np.ndarray] = {}
    for start in range(0, len(order), BATCH):
        indices = order[start : start + BATCH]
        longest = len(texts[indices[0]])
        ids = torch.zeros(len(indices), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, index in enumerate(indices):
            ids[row, : len(texts[index])] = torch.from_numpy(texts[index].astype(np.int64))
            mask[row, : len(texts[index])] = 1
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        pooled = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        for index, vector in zip(indices, torch.nn.functional.normalize(pooled, dim=1).numpy(), strict=True):
            result[index] = vector
    return np.stack([result[index] for index in range(len(texts))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--lengths", type=int, nargs=2, default=(16, 256), help="shortest and longest text, in tokens")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = CLOCKS[arguments.clock]
    random = np.random.default_rng(0)
    sizes = np.exp(random.uniform(*np.log(arguments.lengths), arguments.texts)).astype(int)
    texts = [random.integers(5, 20_000, size) for size in sizes]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(arguments.model, folder)
        files = [folder / file for file in ("model.safetensors", "config.json", "tokenizer.json")]
        checkpoint = read_safetensors(*files)
        settings = replace(current(), threads=arguments.threads, cache=folder)
        variants: dict[str, Callable[[], np.ndarray]] = {}
        for precision in ("fp32", "bf16"):
            backend = build_backend(checkpoint, replace(settings, precision=precision), steps=MEAN)
            if backend.precision == precision:
                variants[f"umekomi {precision}"] = lambda backend=backend: run_umekomi(backend, texts)
        variants["transformers fp32"] = lambda: run_transformers(model, texts)
        if "umekomi bf16" in variants:
            half = type(model).from_pretrained(folder, dtype=torch.bfloat16).eval()
            variants["transformers bf16"] = lambda: run_transformers(half, texts)
        times: dict[str, list[float]] = {variant: [] for variant in variants}
        vectors: dict[str, np.ndarray] = {}
        for run in range(arguments.runs + 1):  # the first one is not measured
            for variant, compute in variants.items():
                start = clock()
                vectors[variant] = compute()
                seconds = clock() - start
                if run:
                    times[variant].append(seconds)
                print(f"run {run}: {variant}, {seconds:.1f} s", file=sys.stderr)
    print(
        f"{arguments.model}, {len(texts)} texts, {sizes.sum()} tokens, {arguments.threads} threads, {arguments.clock} clock"
    )
    for variant, seconds in times.items():
        cosine = (vectors[variant] * vectors["transformers fp32"]).sum(axis=1).min()
        print(f"{variant:18} {sizes.sum() / np.median(seconds):8.0f} tokens/s   cosine {cosine:.5f}")


if __name__ == "__main__":
    main()
