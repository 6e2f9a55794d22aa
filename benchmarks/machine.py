"""Helpers that several benchmarks share: description of the machine, input texts, peak memory, timing."""

import csv
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

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
