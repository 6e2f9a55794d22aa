"""Mutations of a model folder: missing files, wrong values, renamed tensors and so on."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from ..network.tiny_architectures import make_model
from .folders import edit, make_case

JSON_FILES = (
    "modules.json",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "3_Dense/config.json",
)
TENSOR_FILES = ("model.safetensors", "2_Dense/model.safetensors", "3_Dense/model.safetensors")
WRONG_VALUES: tuple[Any, ...] = (None, True, -1, 0, 3, 1.5, "", "wrong", [], ["wrong"], {}, {"wrong": 1}, 10**30)
Mutation = Callable[[Path], None]


def delete(folder: Path, file: str) -> None:
    (folder / file).unlink()


def truncate(folder: Path, file: str, share: float) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: int(len(content) * share)])


def replace_content(folder: Path, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)


def replace_by_a_folder(folder: Path, file: str) -> None:
    (folder / file).unlink()
    (folder / file).mkdir()


def add_key(folder: Path, file: str) -> None:
    content = json.loads((folder / file).read_text())
    (content[0] if isinstance(content, list) else content)["an_unknown_key"] = 1
    (folder / file).write_text(json.dumps(content))


def change_value(folder: Path, file: str, source: random.Random) -> None:
    """Change one value of a file, at any depth, to a wrong one, or delete its key."""
    content = json.loads((folder / file).read_text())
    container, keys = content, []
    while isinstance(container, (dict, list)) and container:
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        key = source.choice(keys)
        inner = container[key]
        if not isinstance(inner, (dict, list)) or not inner or source.random() < 0.3:
            break
        container = inner
    if source.random() < 0.2:
        del container[key]
    else:
        container[key] = source.choice(WRONG_VALUES)
    (folder / file).write_text(json.dumps(content))


def change_tensor(folder: Path, file: str, source: random.Random) -> None:
    """Delete, rename, reshape, cut or retype one tensor, or add one."""
    tensors = load_file(folder / file)
    name = source.choice(sorted(tensors))
    tensor = tensors[name]
    match source.choice(["delete", "rename", "flatten", "cut", "grow", "integers", "add", "empty", "nan"]):
        case "delete":
            del tensors[name]
        case "rename":
            tensors[f"{name}.renamed"] = tensors.pop(name)
        case "flatten":
            tensors[name] = tensor.reshape(-1, 1)
        case "cut":
            tensors[name] = tensor[:-1].copy()
        case "grow":
            tensors[name] = np.concatenate([tensor, tensor])
        case "integers":
            tensors[name] = tensor.astype(np.int64)
        case "add":
            tensors["an.unknown.tensor"] = tensor.copy()
        case "empty":
            tensors[name] = tensor[:0].copy()
        case "nan":
            tensors[name] = np.full_like(tensor, np.nan)
    save_file(tensors, folder / file)


def mutations() -> Iterator[tuple[str, Mutation]]:
    """Yield the name and the function of each mutation: more than 200."""
    for file in (*JSON_FILES, *TENSOR_FILES):
        yield f"delete {file}", lambda folder, file=file: delete(folder, file)  # type: ignore[misc]
        yield f"replace {file} by a folder", lambda folder, file=file: replace_by_a_folder(folder, file)  # type: ignore[misc]
        for share in (0, 0.1, 0.9):
            yield f"truncate {file} at {share}", lambda folder, file=file, share=share: truncate(folder, file, share)  # type: ignore[misc]
    for file in JSON_FILES:
        for content in (b"[]", b"{}", b"null", b'"text"', b"1", b"[1]", b"\xff\xfe", b"[" * 100_000):
            name = f"replace {file} by {content[:8]!r}"
            yield name, lambda folder, file=file, content=content: replace_content(folder, file, content)  # type: ignore[misc]
        yield f"add a key to {file}", lambda folder, file=file: add_key(folder, file)  # type: ignore[misc]
        for seed in range(10):
            yield (
                f"change {file} {seed}",
                lambda folder, file=file, seed=seed: change_value(folder, file, random.Random(seed)),
            )  # type: ignore[misc]
    for file in TENSOR_FILES:
        for seed in range(12):
            yield (
                f"change {file} {seed}",
                lambda folder, file=file, seed=seed: change_tensor(folder, file, random.Random(seed)),
            )  # type: ignore[misc]


ARCHITECTURES = ("albert", "deberta-v2", "eurobert", "gemma3_text", "modernbert", "mpnet", "nomic_bert", "qwen3", "t5")


def architecture_mutations(case: str) -> Iterator[tuple[str, Mutation]]:
    """Yield changes of the configuration and of the tensors of a tiny model."""
    for seed in range(12):
        yield (
            f"{case}, config {seed}",
            lambda folder, seed=seed: change_value(folder, "config.json", random.Random(seed)),
        )  # type: ignore[misc]
        yield (
            f"{case}, tensor {seed}",
            lambda folder, seed=seed: change_tensor(folder, "model.safetensors", random.Random(seed)),
        )  # type: ignore[misc]


ARCHITECTURES_CHANGING = ("gemma3_text, config 2", "qwen3, config 5")
"""Those that give another valid model: causal attention by default, and another ``rms_norm_eps``."""

CHANGING = ("delete modules.json", "change config.json 5")
"""Mutations that give another valid model: the mean of the tokens without modules, and another ``layer_norm_eps``."""


def make_architecture(folder: Path, case: str) -> Path:
    """Write a tiny model of an architecture and return its folder."""
    make_model(folder, case)
    edit(folder / "tokenizer_config.json", pad_token="<pad>")
    return folder


def make_original(folder: Path) -> Path:
    """Write the folder that is mutated, with many files and keys, and return it."""
    make_case(folder, "two dense layers")
    edit(folder / "sentence_bert_config.json", max_seq_length=36, do_lower_case=False)
    edit(folder / "config_sentence_transformers.json", prompts={"query": "query: "}, similarity_fn_name="cosine")
    return folder
