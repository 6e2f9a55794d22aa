"""The options that OpenVINO compiles a model with."""

from dataclasses import replace

import pytest

from umekomi.encoders.transformer.backends import openvino
from umekomi.errors import InputError
from umekomi.settings import current


@pytest.mark.parametrize(("threads", "bound"), [(0, True), (4, True), (1, False), (3, False)])
def test_threads_are_bound_to_cores_only_by_who_takes_them_all(
    threads: int, bound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "available_cores", lambda: 4)
    monkeypatch.setattr(openvino, "affinity_cores", lambda: 4)
    options = openvino.compile_options("fp32", replace(current(), threads=threads))
    # Bound ones are always bound to the first cores: two processes of two threads each would have two cores of four.
    assert ("ENABLE_CPU_PINNING" not in options) is bound


def test_openvino_takes_no_more_threads_than_a_container_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "affinity_cores", lambda: 64)
    monkeypatch.setattr(openvino, "available_cores", lambda: 2)
    options = openvino.compile_options("fp32", replace(current(), threads=0))
    assert (options["INFERENCE_NUM_THREADS"], options["ENABLE_CPU_PINNING"]) == ("2", "NO")
    monkeypatch.setattr(openvino, "available_cores", lambda: 64)
    assert "INFERENCE_NUM_THREADS" not in openvino.compile_options("fp32", replace(current(), threads=0))


def test_no_more_streams_than_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "available_cores", lambda: 2)
    assert openvino.count_streams(replace(current(), threads=0, streams=8)) == 2
    assert openvino.count_streams(replace(current(), threads=1, streams=8)) == 1


def test_fp16_is_refused_on_the_cpu() -> None:
    with pytest.raises(InputError, match="UMEKOMI_PRECISION=fp16 is for a GPU"):
        openvino.choose_precision("fp16")
