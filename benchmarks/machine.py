"""Helpers that several benchmarks share: description and peak speed of the machine, input texts, peak memory, timing."""

import csv
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

VECTOR_EXTENSIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def describe_machine() -> str:
    """Return one line with the CPU and its vector extensions, the number of cores, the load, the system and the date."""
    facts = {}
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    flags = set(facts.get("flags", "").split())
    extensions = ", ".join(flag for flag in VECTOR_EXTENSIONS if flag in flags) or "unknown vector extensions"
    family = f"family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else platform.machine()
    return (
        f"{facts.get('model name', platform.processor())} ({family}; {extensions}), {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, {platform.system()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )


def describe_peak() -> str:
    """Return one line with the peak speed of this machine at this moment, to compare the figures of a table with it.

    These are products of matrices in fp32 on all cores (NumPy) and copies of 128 MiB on one core (bytes read and written); the
    best of five runs each, about a second in all. benchmarks/roofline.py also measures the peak in bf16 and int8.
    """
    size, values = 1536, np.ones((1536, 1536), dtype=np.float32)
    source, target = np.ones(32 << 20, dtype=np.float32), np.empty(32 << 20, dtype=np.float32)
    calls = {"products": lambda: values @ values, "copies": lambda: np.copyto(target, source)}
    seconds = best_times(calls, 5)
    gflops, gigabytes = 2e-9 * size**3 / seconds["products"], 2e-9 * source.nbytes / seconds["copies"]
    return f"Peak of this machine: {gflops:.0f} GFLOP/s in fp32, {gigabytes:.1f} GB/s of memory."


def read_reviews(path: Path) -> list[str]:
    """Return the reviews in the guide's format. A missing file ends the program with a message."""
    if not path.is_file():
        sys.exit(f"{path} does not exist. Give the file of reviews (columns Summary and Text) with --reviews.")
    with path.open(encoding="utf-8", newline="") as stream:
        return [f"Title: {row['Summary'].strip()}; Content: {row['Text'].strip()}" for row in csv.DictReader(stream)]


def peak_megabytes() -> float:
    """Return the peak memory of this process. (``getrusage`` would include that of its parent before the fork.)"""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def best_times(
    calls: Mapping[str, Callable[[], object]], rounds: int, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the shortest time of each call in seconds.

    The calls take turns, because other work on the machine can only make them slower.
    """
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            best[name] = min(best[name], clock() - start)
    return best
