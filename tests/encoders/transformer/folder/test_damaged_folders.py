"""Damaged and unusual folders: Umekomi returns the model's vectors, or raises an error of one line that names the reason."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from umekomi.encoders.transformer.folder.sentence_transformers import load_folder, load_folder_tokenizer
from umekomi.errors import InputError, UmekomiError
from umekomi.settings import Settings
from umekomi.vectors.arithmetic import cosine

from ..tiny import make_folder
from .folders import CASE_TEXTS, edit, make_case
from .mutations import (
    ARCHITECTURES,
    ARCHITECTURES_CHANGING,
    CHANGING,
    architecture_mutations,
    make_architecture,
    make_original,
    mutations,
)

BASE = "two dense layers"


def test_each_of_200_mutated_folders_gives_its_vectors_or_an_error_of_one_line(
    tmp_path: Path, settings: Settings
) -> None:
    exact = replace(settings, precision="fp32")
    original = make_original(tmp_path / "original")
    unchanged = load_folder(str(original), exact)[0].encode(CASE_TEXTS)
    # Those of sentence-transformers.
    golden = json.loads(Path(__file__).with_name("mutations.json").read_text("utf-8"))
    outcomes: dict[str, str] = {}
    for number, (name, mutate) in enumerate(mutations()):
        folder = tmp_path / str(number)
        shutil.copytree(original, folder)
        mutate(folder)
        expected = np.array(golden[name], dtype=np.float32) if name in CHANGING else unchanged
        outcomes[name] = describe_outcome(folder, exact, expected)
        shutil.rmtree(folder)
    assert len(outcomes) >= 200
    assert {name: outcome for name, outcome in outcomes.items() if outcome not in ("vectors", "error")} == {}
    # Neither outcome is that of all mutations.
    assert 10 < list(outcomes.values()).count("vectors") < len(outcomes) / 2
    assert all(outcomes[name] == "vectors" for name in CHANGING)


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_mutated_models_of_other_architectures_give_their_vectors_or_an_error_of_one_line(
    case: str, tmp_path: Path, settings: Settings
) -> None:
    exact = replace(settings, precision="fp32")
    original = make_architecture(tmp_path / "original", case)
    unchanged = load_folder(str(original), exact)[0].encode(CASE_TEXTS)
    # Those of sentence-transformers.
    golden = json.loads(Path(__file__).with_name("mutations.json").read_text("utf-8"))
    outcomes: dict[str, str] = {}
    for number, (name, mutate) in enumerate(architecture_mutations(case)):
        folder = tmp_path / str(number)
        shutil.copytree(original, folder)
        mutate(folder)
        is_changing = name in ARCHITECTURES_CHANGING
        outcomes[name] = describe_outcome(
            folder, exact, np.array(golden[name], np.float32) if is_changing else unchanged
        )
        assert not is_changing or outcomes[name] == "vectors"
    assert {name: outcome for name, outcome in outcomes.items() if outcome not in ("vectors", "error")} == {}
    assert set(outcomes.values()) == {"vectors", "error"}


def describe_outcome(folder: Path, settings: Settings, expected: np.ndarray) -> str:
    """Return ``error``, ``vectors`` if they are the expected ones, or a description of what is wrong."""
    try:
        load_folder_tokenizer(str(folder), settings)
        vectors = load_folder(str(folder), settings)[0].encode(CASE_TEXTS)
    except UmekomiError as error:
        return "error" if str(error).strip() and "\n" not in str(error) else f"a message of several lines: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if vectors.shape != expected.shape:
        return f"vectors of the shape {vectors.shape}"
    similarity = np.diag(cosine(vectors, expected)).min()
    return "vectors" if similarity > 0.99999 else f"other vectors, with the cosine {similarity:.6f}"


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


def test_weights_that_are_not_finite_are_rejected(tmp_path: Path, settings: Settings) -> None:
    folder = make_case(tmp_path / "model", BASE)
    tensors = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.intermediate.dense.bias"
    save_file({**tensors, name: np.full_like(tensors[name], np.nan)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=f"tensor '{name}' has values that are not finite"):
        load_folder(str(folder), settings)


@pytest.mark.parametrize(
    ("family", "changes", "match"),
    [
        ("bert", {"type_vocab_size": 0}, "a tensor 'embeddings.token_type_embeddings.weight', which Umekomi does not"),
        ("mpnet", {"pad_token_id": 0}, "pad_token_id 0 in its config.json, but its tokenizer adds this token"),
        ("roberta", {"pad_token_id": 2}, "pad_token_id 2 in its config.json, but its tokenizer adds this token"),
    ],
)
def test_settings_must_agree_with_the_weights_and_the_tokenizer(
    family: str, changes: dict[str, object], match: str, tmp_path: Path, settings: Settings
) -> None:
    folder = make_folder(tmp_path / "model", family)
    edit(folder / "config.json", **changes)
    with pytest.raises(InputError, match=match):
        load_folder(str(folder), settings)
