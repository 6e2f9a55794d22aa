"""The machine that this process runs on: its CPU cores, its processor, and what ``umekomi tune`` stored for it.

A tuning is a small file in the cache folder. It decides how vectors are computed, not which model computes them, so it never
changes the vector space (see :mod:`umekomi.pipeline.autotune`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import InputError
from .files.outputs import write_text

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
TUNING_FILE = "tuned.json"
CPUINFO = Path("/proc/cpuinfo")


def available_cores() -> int:
    """Return the number of CPU cores that this process may use, at least 1.

    A container or a service often has fewer cores than its host. The result respects the CPU affinity (``taskset``,
    ``docker --cpuset-cpus``) and the CPU quota of cgroups v1 and v2 (``docker --cpus``, Kubernetes limits, ``CPUQuota=`` of
    systemd). A quota of 1.5 cores counts as 2.
    """
    cores = affinity_cores()
    quota = cpu_quota() if sys.platform == "linux" else None
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def affinity_cores() -> int:
    """Return the number of CPU cores in the CPU affinity of this process, without regard to its CPU quota."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU quota of this process's control groups in cores, or None if there is none.

    Args:
        root: Directory that contains ``proc``; mount points are looked up below it.
    """
    quotas = [quota for folder in _cgroup_folders(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(root: Path) -> Iterator[Path]:
    """Yield the folder of each control group that limits this process: its own and all ancestors."""
    groups: dict[str, str] = {}  # controller → path of the group; "" is the controller of cgroup v2
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        groups.update((name, path) for name in controllers.split(","))
    for line in _lines(root / "proc/self/mounts"):
        _, mount_point, file_system, options = [*line.split(" "), "", "", "", ""][:4]
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(file_system)
        if controller is None or controller not in groups or (controller and controller not in options.split(",")):
            continue
        mounted = root / mount_point.lstrip("/")
        # Without a cgroup namespace the path is the host's, which a container does not see; its own group is then the
        # mount point.
        folder = mounted / groups[controller].lstrip("/")
        while folder != mounted and mounted in folder.parents:
            yield folder
            folder = folder.parent
        yield mounted


def _quota(folder: Path) -> float | None:
    words = " ".join(_lines(folder / "cpu.max")).split()
    if not words:
        words = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    # "max" (v2) and -1 (v1) mean no limit.
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and int(word) for word in words):
        return None
    return int(words[0]) / int(words[1])


def _lines(path: Path) -> list[str]:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text("utf-8").splitlines()
    return []


def cpu_facts() -> dict[str, str]:
    """Return the name, the model numbers and the flags of the first processor in ``/proc/cpuinfo``; empty if there is none."""
    facts: dict[str, str] = {}
    for line in _lines(CPUINFO):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "cpu family", "model", "flags", "Features", "CPU part"):
            facts.setdefault(key.strip(), value.strip())
    return facts


def machine_name() -> str:
    """Return a name of this machine's processors, such as ``AMD EPYC, 2 cores, 0f3a9c12``.

    The last part is a hash of all that the processors can do, because a virtual machine may have the name "AMD EPYC" for
    processors of several generations.
    """
    facts = cpu_facts()
    name = facts.get("model name") or platform.processor() or platform.machine()
    digest = hashlib.sha256(json.dumps([facts, platform.machine()], sort_keys=True).encode()).hexdigest()[:8]
    return f"{name}, {available_cores()} cores, {digest}"


@dataclass(frozen=True, slots=True)
class Tuning:
    """How to compute vectors on the CPU. The defaults are used on machines that were not tuned."""

    #: CPU threads; 0 means all.
    threads: int = 0
    #: Batches that run at the same time, each on its share of the threads.
    streams: int = 1
    #: One of :data:`PRECISIONS`.
    precision: str = "auto"
    #: Tokens in one batch.
    batch_tokens: int = 2048

    def __post_init__(self) -> None:
        numbers = ((self.threads, 0), (self.streams, 1), (self.batch_tokens, 1))
        if any(type(number) is not int or number < minimum for number, minimum in numbers):
            raise ValueError("threads, streams and batch_tokens must be whole numbers")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}")


def read_tuning(cache: Path) -> Tuning:
    """Read the tuning in a cache folder. Return the defaults if there is none, or if it was made on another machine.

    Raises:
        InputError: The file was not written by :func:`write_tuning`.
    """
    path = cache / TUNING_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        return Tuning(**content["tuning"]) if content["machine"] == machine_name() else Tuning()
    except OSError:
        return Tuning()
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}). Run `umekomi tune --reset` to delete it.") from error


def write_tuning(cache: Path, tuning: Tuning, *, measured: Mapping[str, object]) -> Path:
    """Store a tuning for this machine, together with the measurements, and return the path of the file."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / TUNING_FILE
    content = {"machine": machine_name(), "tuning": asdict(tuning), "measured": dict(measured)}
    write_text(path, json.dumps(content, indent=1) + "\n")
    return path


def delete_tuning(cache: Path) -> bool:
    """Delete the tuning in a cache folder. Return False if there was none."""
    try:
        (cache / TUNING_FILE).unlink()
    except FileNotFoundError:
        return False
    return True
