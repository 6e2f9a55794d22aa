"""Tiny static models with random tables, generated from a seed so that the files are the same everywhere."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "query", ":"]
#: With an unknown word, a text of one token, a repeated token, and a text that is longer than the maximum length of 8.
TEXTS = ["one two three", "four", "five unknown nine nine", "six two two one five one nine", "seven eight nine " * 9]
DIMS = 12


def make_tokenizer(folder: Path) -> int:
    """Write a tokenizer that truncates at 8 tokens, as model2vec writes it, and return the number of ids."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1} | {word: 2 + number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(8)
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(vocabulary)


def make_table(rows: int, dtype: str = "float32") -> np.ndarray:
    table = np.random.default_rng(7).normal(0, 1, (rows, DIMS)).astype(np.float32)
    return np.rint(table * 40).astype(np.int8) if dtype == "int8" else table.astype(dtype)


def make_static_embedding(folder: Path, *, dtype: str = "float32") -> Path:
    """Write a folder as sentence-transformers does for ``SentenceTransformer(modules=[StaticEmbedding(…)])``."""
    module = folder / "0_StaticEmbedding"
    module.mkdir(parents=True)
    rows = make_tokenizer(module)
    save_file({"embedding.weight": make_table(rows, dtype)}, module / "model.safetensors")
    modules = [
        {
            "idx": 0,
            "name": "0",
            "path": "0_StaticEmbedding",
            "type": "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding",
        }
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "query : "}}))
    return folder


def make_static_with_steps(folder: Path) -> Path:
    """Write a static model with a dense layer, a layer normalization, and vectors of five dimensions."""
    make_static_embedding(folder)
    random = np.random.default_rng(9)
    modules = {
        "Dense": (
            {"in_features": DIMS, "out_features": 8, "bias": True},
            {"linear.weight": (8, DIMS), "linear.bias": (8,)},
        ),
        "LayerNorm": ({"dimension": 8}, {"norm.weight": (8,), "norm.bias": (8,)}),
    }
    entries = json.loads((folder / "modules.json").read_text())
    for index, (name, (config, shapes)) in enumerate(modules.items(), 1):
        path = folder / f"{index}_{name}"
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config))
        tensors = {tensor: random.normal(0, 0.5, shape).astype(np.float32) for tensor, shape in shapes.items()}
        save_file(tensors, path / "model.safetensors")
        entries.append(
            {"idx": index, "name": str(index), "path": path.name, "type": f"sentence_transformers.models.{name}"}
        )
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"truncate_dim": 5}))
    return folder


def make_model2vec(
    folder: Path, *, dtype: str = "float32", quantized: bool = False, with_modules: bool = True, normalize: bool = True
) -> Path:
    """Write a folder as model2vec does. ``quantized``: several tokens share a row of the table and have weights."""
    folder.mkdir(parents=True)
    n_ids = make_tokenizer(folder)
    tensors = {"embeddings": make_table(6 if quantized else n_ids, dtype)}
    if quantized:
        random = np.random.default_rng(8)
        tensors["mapping"] = random.integers(0, 6, n_ids)
        tensors["weights"] = random.uniform(0.1, 2, n_ids).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": normalize, "max_length": 8}
    config |= {"embedding_dtype": dtype, "hidden_dim": DIMS, "apply_pca": DIMS, "tokenizer_name": "tiny"}
    (folder / "config.json").write_text(json.dumps(config))
    if with_modules:
        modules = [{"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"}]
        if normalize:
            path = {"path": "1_Normalize", "type": "sentence_transformers.models.Normalize"}
            modules.append({"idx": 1, "name": "1", **path})
        (folder / "modules.json").write_text(json.dumps(modules))
    return folder
