"""What the benchmarks of encoding share: the machine in a line, the texts, the memory, the turns."""

import csv
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def describe_machine() -> str:
    """The processor, what of AVX-512, VNNI, BF16 and AMX it has, the load, the system and the day, in one line."""
    facts = {}
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    flags = set(facts.get("flags", "").split())
    wanted = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    found = ", ".join(flag for flag in wanted if flag in flags) or "no vector extension known"
    family = f"family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else platform.machine()
    return (
        f"{facts.get('model name', platform.processor())} ({family}; {found}), {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, {platform.system()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )


def read_reviews(path: Path) -> list[str]:
    """The reviews as the guide embeds them; ends the program with one sentence where the file is not."""
    if not path.is_file():
        sys.exit(f"There is no file {path}: say where the reviews are with --reviews (columns Summary and Text).")
    with path.open(encoding="utf-8", newline="") as stream:
        return [f"Title: {row['Summary'].strip()}; Content: {row['Text'].strip()}" for row in csv.DictReader(stream)]


def peak_megabytes() -> float:
    """The most memory that this process has held. (``getrusage`` would also count its parent before the fork.)"""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """The least seconds of each call: they take turns, since other work on the machine only ever makes one slower."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            began = clock()
            call()
            best[name] = min(best[name], clock() - began)
    return best
