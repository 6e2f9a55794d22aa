"""Low-rank adapters of jina-embeddings-v3: each role uses its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from umekomi import Embedder
from umekomi.settings import Settings

from .folder.folders import edit
from .network.tiny_architectures import make_model
from .tiny import TEXTS

ADAPTERS = ["retrieval.query", "retrieval.passage", "separation", "text-matching"]
WEIGHT = "encoder.layers.1.mlp.fc1"


def make_folders(folder: Path) -> tuple[Path, dict[str, Path]]:
    """Write a model with adapters, and a model without adapters for each of them, whose weights contain the adapter."""
    random = np.random.default_rng(6)
    left, right = (random.normal(size=(4, *shape)).astype(np.float32) for shape in ((48, 2), (2, 32)))
    whole = make_model(folder / "whole", "jina_embeddings_v3", lora_adaptations=ADAPTERS, lora_rank=2, lora_alpha=2)
    tensors = load_file(whole / "model.safetensors")
    merged = {}
    for number, name in enumerate(ADAPTERS):
        merged[name] = make_model(folder / name, "jina_embeddings_v3")
        adapted = {f"{WEIGHT}.weight": tensors[f"{WEIGHT}.weight"] + left[number] @ right[number]}
        save_file(tensors | adapted, merged[name] / "model.safetensors")
    start = f"{WEIGHT}.parametrizations.weight"
    tensors[f"{start}.original"] = tensors.pop(f"{WEIGHT}.weight")
    save_file(tensors | {f"{start}.0.lora_B": left, f"{start}.0.lora_A": right}, whole / "model.safetensors")
    return whole, merged


def test_each_role_uses_its_adapter_and_its_prompt(tmp_path: Path, settings: Settings) -> None:
    exact = replace(settings, precision="fp32")
    folder, merged = make_folders(tmp_path)
    edit(folder / "config_sentence_transformers.json", prompts={"retrieval.query": "query: ", "separation": ""})
    embedder = Embedder(str(folder), settings=exact)
    cases = {
        "query": ("retrieval.query", "query: "),
        "document": ("retrieval.passage", ""),
        None: ("text-matching", ""),
    }
    for role, (adapter, prompt) in {**cases, "separation": ("separation", "")}.items():
        expected = Embedder(str(merged[adapter]), settings=exact).embed([prompt + text for text in TEXTS])
        assert embedder.embed(TEXTS, role=role) == pytest.approx(expected, abs=1e-5), role


def test_the_adapters_are_part_of_the_fingerprint(tmp_path: Path, settings: Settings) -> None:
    folder, _ = make_folders(tmp_path)
    before = Embedder(str(folder), settings=settings).fingerprint
    edit(folder / "config.json", lora_adaptations=[*ADAPTERS[1:], ADAPTERS[0]])
    assert Embedder(str(folder), settings=settings).fingerprint != before
