"""The options that OpenVINO compiles a model with."""

from dataclasses import replace

import pytest

from umekomi.encoders.transformer.backends import openvino
from umekomi.errors import InputError
from umekomi.settings import current


@pytest.mark.parametrize(("threads", "bound"), [(0, True), (4, True), (1, False), (3, False)])
def test_threads_are_bound_to_cores_only_if_all_cores_are_used(
    threads: int, bound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "available_cores", lambda: 4)
    monkeypatch.setattr(openvino, "affinity_cores", lambda: 4)
    options = openvino.compile_options("fp32", replace(current(), threads=threads))
    # OpenVINO binds threads to the first cores, so two processes with two threads each would share two of four cores.
    assert ("ENABLE_CPU_PINNING" not in options) is bound


def test_openvino_uses_at_most_the_available_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "affinity_cores", lambda: 64)
    monkeypatch.setattr(openvino, "available_cores", lambda: 2)
    options = openvino.compile_options("fp32", replace(current(), threads=0))
    assert (options["INFERENCE_NUM_THREADS"], options["ENABLE_CPU_PINNING"]) == ("2", "NO")
    monkeypatch.setattr(openvino, "available_cores", lambda: 64)
    assert "INFERENCE_NUM_THREADS" not in openvino.compile_options("fp32", replace(current(), threads=0))


def test_there_are_at_most_as_many_streams_as_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "available_cores", lambda: 2)
    assert openvino.count_streams(replace(current(), threads=0, streams=8)) == 2
    assert openvino.count_streams(replace(current(), threads=1, streams=8)) == 1


def test_fp16_is_rejected_on_the_cpu() -> None:
    with pytest.raises(InputError, match="UMEKOMI_PRECISION=fp16 is for a GPU"):
        openvino.choose_precision("fp16")
