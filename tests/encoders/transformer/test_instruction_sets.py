"""A text has the same bytes in every batch under each instruction set. benchmarks/same_bytes.py runs one process per set."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "same_bytes.py"


# A CPU without an instruction set uses the next smaller one.
@pytest.mark.parametrize("limit", ["AVX2", "AVX512_CORE", "AVX512_CORE_BF16", "AVX512_CORE_AMX"])
def test_a_text_has_the_same_bytes_in_every_batch_under_each_instruction_set(limit: str) -> None:
    command = [sys.executable, str(BENCHMARK), "--json", "--limits", limit, "--heads", "8", "48", "--threads", "1"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    rows = json.loads(output)[limit]["rows"]
    assert {(row["precision"], row["head"]) for row in rows} == {
        (p, head) for p in ("fp32", "bf16") for head in (8, 48)
    }
    assert [row["chosen_differing"] for row in rows] == [0] * 4
    assert all(row["compared"] for row in rows if row["precision"] == "fp32")
    if limit == "AVX2" and platform.machine() in ("x86_64", "AMD64"):
        assert not any("avx512" in row["kernels"] for row in rows)
