"""Damaged and unusual folders: Umekomi returns the model's vectors, or raises an error of one line that names the reason."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from umekomi.encoders.transformer.folder.sentence_transformers import load_folder, load_folder_tokenizer
from umekomi.errors import InputError, UmekomiError
from umekomi.settings import Settings

from .folders import CASE_TEXTS, edit, make_case

BASE = "two dense layers"
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


def test_each_of_200_mutated_folders_gives_vectors_or_an_error_of_one_line(tmp_path: Path, settings: Settings) -> None:
    exact = replace(settings, precision="fp32")
    original = make_case(tmp_path / "original", BASE)
    edit(original / "sentence_bert_config.json", max_seq_length=36, do_lower_case=False)
    edit(original / "config_sentence_transformers.json", prompts={"query": "query: "}, similarity_fn_name="cosine")
    expected = load_folder(str(original), exact)[0].encode(CASE_TEXTS)
    outcomes: dict[str, str] = {}
    for number, (name, mutate) in enumerate(mutations()):
        folder = tmp_path / str(number)
        shutil.copytree(original, folder)
        mutate(folder)
        outcomes[name] = describe_outcome(folder, exact, expected)
        shutil.rmtree(folder)
    assert len(outcomes) >= 200
    assert {name: outcome for name, outcome in outcomes.items() if outcome not in ("vectors", "error")} == {}
    # Neither outcome is that of all mutations.
    assert 10 < list(outcomes.values()).count("vectors") < len(outcomes) / 2


def describe_outcome(folder: Path, settings: Settings, expected: np.ndarray) -> str:
    """Return ``error``, ``vectors`` if they are finite, or a description of what is wrong."""
    try:
        load_folder_tokenizer(str(folder), settings)
        vectors = load_folder(str(folder), settings)[0].encode(CASE_TEXTS)
    except UmekomiError as error:
        return "error" if str(error).strip() and "\n" not in str(error) else f"a message of several lines: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "vectors" if np.isfinite(vectors).all() and len(vectors) == len(expected) else "vectors that are not finite"


@pytest.mark.parametrize(
    ("file", "changes", "match"),
    [
        ("sentence_bert_config.json", {"max_seq_len": 3}, "has the key 'max_seq_len' .3., which Umekomi does not know"),
        ("sentence_bert_config.json", {"max_seq_length": "36"}, "'max_seq_length' is \"36\"; Umekomi expects a number"),
        ("sentence_bert_config.json", {"query_length": 32}, "'query_length' is 32; .*multi-vector"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, 'supports "feature-extraction"'),
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}, "it is a reranker"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "sparse encoder .SPLADE."),
        (
            "config_sentence_transformers.json",
            {"model_type": "MultiVectorEncoder"},
            "a vector for each token .ColBERT.",
        ),
        (
            "config_sentence_transformers.json",
            {"similarity_fn_name": "manhattan"},
            "by cosine, which gives another order",
        ),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "q"},
            "'default_prompt_name' is \"q\"; there are prompts",
        ),
        ("config_sentence_transformers.json", {"prompts": {"query": "one " * 40}}, "no text fits"),
        ("tokenizer_config.json", {"add_eos_token": False}, "tokenizer.json adds 1 tokens after a text"),
        (
            "1_Pooling/config.json",
            {"pooling_mode": "median"},
            "'pooling_mode' is \"median\"; Umekomi supports cls, max",
        ),
        ("1_Pooling/config.json", {"pooling_mode_median": True}, "has the key 'pooling_mode_median'"),
        ("2_Dense/config.json", {"activation_function": "my.Function"}, "supports Tanh, Identity"),
        ("2_Dense/config.json", {"module_output_name": "other"}, "'module_output_name' is \"other\"; at this position"),
        ("2_Dense/config.json", {"out_features": 47}, "has the shape 48 × 32; its settings say 47 × 32"),
        ("config.json", {"vocab_size": 9}, "tokenizer .* has 16 ids, but the model has embeddings for 9"),
    ],
)
def test_errors_name_the_file_the_key_and_the_value(
    file: str, changes: dict[str, object], match: str, tmp_path: Path, settings: Settings
) -> None:
    folder = make_case(tmp_path / "model", BASE)
    edit(folder / file, **changes)
    with pytest.raises(InputError, match=match):
        load_folder(str(folder), settings)


@pytest.mark.parametrize(
    ("modules", "match"),
    [
        ([], "must contain a list of modules"),
        ({"type": "Transformer"}, "must contain a list of modules"),
        (["Transformer"], "has no module Pooling, .* ColBERT"),
        (["Transformer", "Dense"], "module_input_name"),
        (["Transformer", "Pooling", "Pooling"], "second pooling"),
        (["Transformer", "Pooling", "Transformer"], "'Transformer' after another one"),
        (["Pooling", "Transformer"], "first module of .* is 'Pooling'"),
        (["Router", "Pooling"], "'Router', which routes queries and documents"),
        (["WordEmbeddings", "Pooling"], "looks up vectors of whole words"),
        (["Transformer", "WeightedLayerPooling"], "combines several layers"),
        (["MLMTransformer", "SpladePooling"], "sparse encoder"),
        (["Transformer", "Unknown"], "supports Transformer, StaticEmbedding, Pooling"),
        (["own_code.Transformer", "Pooling"], "runs no code of models"),
    ],
)
def test_modules_that_cannot_run_are_rejected(modules: Any, match: str, tmp_path: Path, settings: Settings) -> None:
    folder = make_case(tmp_path / "model", BASE)
    if modules and isinstance(modules, list):
        modules = [
            {
                "type": name if "." in name else f"sentence_transformers.models.{name}",
                "path": f"{index}_{name}" if index else "",
            }
            for index, name in enumerate(modules)
        ]
        shutil.copytree(folder / "1_Pooling", folder / "2_Pooling")
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=match):
        load_folder(str(folder), settings)


@pytest.mark.parametrize(
    ("architecture", "match"),
    [
        ("BertForSequenceClassification", "scores pairs of texts, which `umekomi search --rerank` uses, or classifies"),
        ("BertForTokenClassification", "classifies tokens"),
        ("HF_ColBERT", "a vector for each token"),
    ],
)
def test_plain_folders_of_other_tasks_are_rejected(
    architecture: str, match: str, tmp_path: Path, settings: Settings
) -> None:
    folder = make_case(tmp_path / "model", "no modules")
    edit(folder / "config.json", architectures=[architecture])
    with pytest.raises(InputError, match=match):
        load_folder(str(folder), settings)


def test_a_weight_map_that_is_a_list_is_rejected(tmp_path: Path, settings: Settings) -> None:
    folder = make_case(tmp_path / "model", "several files")
    edit(folder / "model.safetensors.index.json", weight_map=["a", "b"])
    with pytest.raises(InputError, match=r"'weight_map' is .*; Umekomi expects an object"):
        load_folder(str(folder), settings)
