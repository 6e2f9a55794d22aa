"""OpenVINO recognizes the operations of a transformer and replaces them with its fused kernels."""

from collections import Counter
from pathlib import Path

import pytest

from umekomi.encoders.transformer.backends.openvino_graph import build_graph
from umekomi.encoders.transformer.backends.openvino_import import ov
from umekomi.encoders.transformer.checkpoint import read_safetensors

from .network.tiny_architectures import make_model


def count_kernels(case: str, folder: Path) -> Counter[str]:
    """Return the numbers of kernels in the compiled graph of a tiny model, by type."""
    make_model(folder, case)
    files = (folder / name for name in ("model.safetensors", "config.json", "tokenizer.json"))
    graph = build_graph(read_safetensors(*files))
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return Counter(node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops())


@pytest.mark.parametrize(("case", "layers"), [("modernbert", 4), ("nomic_bert", 2), ("qwen3", 2), ("gemma3_text", 3)])
def test_rotations_of_queries_and_keys_are_fused(case: str, layers: int, tmp_path: Path) -> None:
    assert count_kernels(case, tmp_path)["RoPE"] == 2 * layers


@pytest.mark.parametrize(("case", "norms"), [("llama", 2 * 2 + 1), ("qwen3", 4 * 2 + 1), ("t5", 2 * 2 + 1)])
def test_rms_normalizations_are_fused(case: str, norms: int, tmp_path: Path) -> None:
    assert count_kernels(case, tmp_path)["RMS"] == norms
