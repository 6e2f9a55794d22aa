"""Facts about the machine that this process runs on."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


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
    """Return the number of CPU cores that the scheduler may run this process on, whatever its quota of time."""
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
