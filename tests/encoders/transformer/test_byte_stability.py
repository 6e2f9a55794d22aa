"""The check that selects precision and batch size, with a backend whose vectors depend on the other texts in a batch."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umekomi import Embedder, machine
from umekomi.encoders.transformer import byte_stability
from umekomi.encoders.transformer.backends import openvino as openvino_backend
from umekomi.encoders.transformer.backends.openvino_fusion import separate_activations
from umekomi.encoders.transformer.backends.openvino_graph import build_graph
from umekomi.encoders.transformer.backends.openvino_import import op, ov
from umekomi.encoders.transformer.backends.openvino_nodes import activate
from umekomi.encoders.transformer.checkpoint import Checkpoint, read_safetensors
from umekomi.settings import Settings

from .tiny import LAYERS, make_folder

TEXTS = ["one two three", "four", "five six seven " * 4, "eight", "nine"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a tiny model, without results of earlier checks."""
    monkeypatch.setattr(byte_stability, "_cached", {})
    return make_folder(tmp_path / "bert", "bert")


@pytest.fixture
def bf16_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that claims to support bf16."""
    monkeypatch.setattr(
        openvino_backend, "choose_precision", lambda requested: "bf16" if requested == "auto" else requested
    )


def batch_dependent(graph: ov.Model) -> ov.Model:
    """Return a graph that adds an offset to its vectors in proportion to the number of texts in the batch."""
    vectors = graph.get_results()[0].input_value(0)
    rows = op.convert(op.gather(op.shape_of(graph.get_parameters()[0]), np.int64(0), np.int64(0)), "f32")
    shifted = op.add(vectors, op.multiply(op.subtract(rows, np.float32(1)), np.float32(1e-3)))
    return ov.Model([shifted], graph.get_parameters(), "dependent")


@pytest.fixture
def break_precisions(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let OpenVINO compile graphs of some precisions so that a text's vector depends on the number of texts in its batch."""
    original = openvino_backend._compile

    def broken(*hints: str) -> None:
        def compile_broken(graph: ov.Model, options: Mapping[str, str]) -> ov.CompiledModel:
            bad = options["INFERENCE_PRECISION_HINT"] in hints
            # Every CPU supports fp32.
            options = {**options, "INFERENCE_PRECISION_HINT": "f32"}
            return original(batch_dependent(graph) if bad else graph, options)

        monkeypatch.setattr(openvino_backend, "_compile", compile_broken)

    return broken


def alone_and_together(embedder: Embedder) -> tuple[bytes, bytes]:
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    return alone.tobytes(), embedder.embed(TEXTS).tobytes()


@pytest.mark.usefixtures("bf16_cpu")
def test_fp32_is_used_if_bf16_depends_on_the_batch(
    folder: Path, settings: Settings, break_precisions: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    break_precisions("bf16")
    with caplog.at_level(logging.WARNING):
        embedder = Embedder(str(folder), settings=settings)
    alone, together = alone_and_together(embedder)
    assert alone == together
    assert embedder.precision == "fp32"
    assert [record.getMessage() for record in caplog.records] == [
        "On this CPU, vectors of this model in bf16 can depend on the other texts in a batch. Umekomi uses fp32 instead."
    ]


@pytest.mark.usefixtures("bf16_cpu")
@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_batches_have_one_text_if_fp32_also_depends_on_the_batch(
    folder: Path, settings: Settings, break_precisions: Callable[..., None], precision: str
) -> None:
    break_precisions("bf16", "f32")
    embedder = Embedder(str(folder), settings=replace(settings, precision=precision))
    alone, together = alone_and_together(embedder)
    assert alone == together
    assert embedder.precision == "fp32"


def test_activations_are_computed_apart_if_the_kernel_for_both_depends_on_the_batch(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original, n_results = openvino_backend._compile, []

    def compile_fused_badly(graph: ov.Model, options: Mapping[str, str]) -> ov.CompiledModel:
        n_results.append(len(graph.outputs))
        return original(batch_dependent(graph) if len(graph.outputs) == 1 else graph, options)

    changed = replace(settings, precision="fp32")
    expected = Embedder(str(folder), settings=changed).embed(TEXTS)
    monkeypatch.setattr(byte_stability, "_cached", {})
    monkeypatch.setattr(openvino_backend, "_compile", compile_fused_badly)
    embedder = Embedder(str(folder), settings=replace(changed, cache=settings.cache / "other"))
    alone, together = alone_and_together(embedder)
    assert alone == together
    assert np.abs(embedder.embed(TEXTS) - expected).max() < 1e-5
    # The check compiles one layer with each way of computing, then all layers are compiled. Each layer has one activation.
    assert n_results == [1, 2, 1 + LAYERS]
    assert not caplog.records


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu"])
def test_a_product_of_768_inputs_and_its_activation_have_the_same_bytes_in_every_batch(activation: str) -> None:
    random = np.random.default_rng(0)
    tokens = random.standard_normal((1, 512, 768), dtype=np.float32)
    state = op.parameter([-1, -1, 768], ov.Type.f32)
    weight, bias = (random.standard_normal(shape, dtype=np.float32) / 28 for shape in ((256, 768), (1, 1, 256)))
    product = op.add(op.matmul(state, op.constant(weight), False, True), op.constant(bias))
    graph = ov.Model(
        [op.mvn(activate(product, activation), np.int32([-1]), True, 1e-6, "inside_sqrt")], [state], "layer"
    )
    separate_activations(graph)
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    everything = compiled(tokens)[0]
    assert all(compiled(tokens[:, :n])[0].tobytes() == everything[:, :n].tobytes() for n in (1, 7, 8, 32, 64, 65, 300))


def test_without_the_check_the_broken_backend_depends_on_the_batch(
    folder: Path, settings: Settings, break_precisions: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_precisions("f32")
    monkeypatch.setattr(openvino_backend, "is_byte_stable", lambda *arguments, **options: True)
    alone, together = alone_and_together(Embedder(str(folder), settings=replace(settings, precision="fp32")))
    assert alone != together


@pytest.mark.usefixtures("bf16_cpu")
def test_the_space_does_not_depend_on_the_chosen_precision(
    folder: Path, settings: Settings, break_precisions: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Embedder(str(folder), settings=replace(settings, precision="fp32"))
    monkeypatch.setattr(byte_stability, "_cached", {})
    break_precisions("bf16", "f32")
    checked_embedder = Embedder(str(folder), settings=replace(settings, cache=settings.cache / "other"))
    assert checked_embedder.fingerprint == original.fingerprint
    assert np.allclose(checked_embedder.embed(TEXTS), original.embed(TEXTS), atol=2e-2)


def test_fp32_is_used_if_the_cpu_does_not_support_bf16(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ov.Core, "get_property", lambda *names: ["FP32", "INT8"])
    embedder = Embedder(str(folder), settings=replace(settings, precision="bf16"))
    assert embedder.precision == "fp32"
    assert "This CPU does not compute in bf16; fp32 is used instead." in caplog.text
    assert Embedder(str(folder), settings=settings).precision == "fp32"


def test_a_shape_is_checked_once_per_machine(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[str] = []
    original = openvino_backend.is_byte_stable

    def counted(*arguments: Any, **options: Any) -> bool:
        checks.append("check")
        return original(*arguments, **options)

    monkeypatch.setattr(openvino_backend, "is_byte_stable", counted)
    changed = replace(settings, precision="fp32")
    for _ in range(2):
        # Another process has only the results in the cache folder.
        monkeypatch.setattr(byte_stability, "_cached", {})
        Embedder(str(folder), settings=changed)
    assert checks == ["check"]
    Embedder(str(folder), settings=replace(changed, threads=1))
    assert checks == ["check"] * 2
    (settings.cache / byte_stability.FILE).write_text("not JSON")
    monkeypatch.setattr(byte_stability, "_cached", {})
    Embedder(str(folder), settings=changed)
    assert checks == ["check"] * 3
    assert all(json.loads((settings.cache / byte_stability.FILE).read_text()).values())


def test_bf16_is_not_tried_for_unusual_hidden_sizes_on_amx(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_safetensors(folder / "model.safetensors", folder / "config.json", folder / "tokenizer.json")
    checked: list[str] = []

    def mode(heads: int, hidden: int) -> byte_stability.Mode:
        shaped: Checkpoint = replace(
            checkpoint, config=replace(checkpoint.config, head_size=hidden // heads, hidden=hidden)
        )
        monkeypatch.setattr(byte_stability, "_cached", {})
        checked.clear()
        changed = replace(settings, cache=settings.cache / f"{heads}-{hidden}-{byte_stability.has_amx()}")
        modes = [byte_stability.Mode("bf16"), byte_stability.Mode("fp32")]
        return byte_stability.choose_mode(shaped, changed, modes, lambda mode: checked.append(mode.precision) is None)

    monkeypatch.setattr(byte_stability, "has_amx", lambda: True)
    assert (mode(4, 32).precision, checked) == ("fp32", ["fp32"])
    assert (mode(4, 80).precision, checked) == ("fp32", ["fp32"])
    assert (mode(8, 384).precision, checked) == ("bf16", ["bf16"])
    assert (mode(12, 384).precision, checked) == ("bf16", ["bf16"])
    monkeypatch.setattr(byte_stability, "has_amx", lambda: False)
    assert (mode(4, 32).precision, checked) == ("bf16", ["bf16"])


@pytest.mark.parametrize(("limit", "allowed"), [("", True), ("ALL", True), ("AVX512_CORE_AMX", True), ("AVX2", False)])
def test_amx_is_not_assumed_if_the_instruction_set_is_limited(
    limit: str, allowed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx512f amx_bf16 amx_tile\n")
    monkeypatch.setattr(machine, "CPUINFO", cpuinfo)
    byte_stability.has_amx.cache_clear()
    assert byte_stability.has_amx() is allowed
    cpuinfo.write_text("flags : fpu avx512f avx512_bf16\n")
    byte_stability.has_amx.cache_clear()
    assert not byte_stability.has_amx()
    byte_stability.has_amx.cache_clear()


def test_the_probe_has_one_layer_and_a_small_vocabulary(folder: Path) -> None:
    checkpoint = read_safetensors(folder / "model.safetensors", folder / "config.json", folder / "tokenizer.json")
    probe = byte_stability.build_probe(checkpoint)
    assert len(probe.read().layers) == 1
    assert probe.read().words.shape == (byte_stability.N_WORDS, 32)
    build_graph(probe)
