"""The number of CPU cores that a process may use, and the tuning that is stored for this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from umekomi import machine
from umekomi.errors import InputError
from umekomi.machine import (
    TUNING_FILE,
    Tuning,
    available_cores,
    cpu_quota,
    delete_tuning,
    machine_name,
    read_tuning,
    write_tuning,
)
from umekomi.settings import Settings


def write_tree(root: Path, files: dict[str, str]) -> Path:
    """Write a fake /proc and /sys/fs/cgroup below ``root``."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\nproc /proc proc rw 0 0\n"
V1 = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
HYBRID = V1 + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
CPU = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/mounts": V2, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/mounts": V2, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        # The group is unlimited, but its parent is limited.
        (
            {
                "proc/self/mounts": V2,
                "proc/self/cgroup": "0::/pods/one\n",
                "sys/fs/cgroup/pods/one/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pods/cpu.max": "400000 100000\n",
            },
            4.0,
        ),
        # The path is that of the host: a container without a cgroup namespace sees its group at the mount point.
        (
            {"proc/self/mounts": V2, "proc/self/cgroup": "0::/docker/0123\n", "sys/fs/cgroup/cpu.max": "50000 100000"},
            0.5,
        ),
        (
            {
                "proc/self/mounts": V1,
                "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/a\n",
                f"{CPU}/a/cpu.cfs_quota_us": "300000\n",
                f"{CPU}/a/cpu.cfs_period_us": "100000\n",
                f"{CPU}/cpu.cfs_quota_us": "-1\n",
                f"{CPU}/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        # Version 1 limits the CPU. Version 2 is used by systemd only.
        (
            {
                "proc/self/mounts": HYBRID,
                "proc/self/cgroup": "3:cpu,cpuacct:/\n0::/user.slice\n",
                f"{CPU}/cpu.cfs_quota_us": "200000\n",
                f"{CPU}/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        ({"proc/self/mounts": V2, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "0 0\n"}, None),
        ({"proc/self/mounts": V2, "proc/self/cgroup": "nonsense\n", "sys/fs/cgroup/cpu.max": "1\n"}, None),
        ({"proc/self/mounts": "x\n\n", "proc/self/cgroup": "0::/../..\n"}, None),
    ],
)
def test_cpu_quota_is_read_from_control_groups(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert cpu_quota(write_tree(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("affinity", "quota", "cores"),
    [(64, 2.0, 2), (64, 1.5, 2), (64, 0.1, 1), (4, 16.0, 4), (4, None, 4)],
)
def test_available_cores_is_the_minimum_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(machine, "affinity_cores", lambda: affinity)
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    monkeypatch.setattr(sys, "platform", "linux")
    assert available_cores() == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this system")
def test_a_process_bound_to_one_core_has_one_available_core() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from umekomi.machine import available_cores; print(available_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_only_machine_counts_cores() -> None:
    source = Path(machine.__file__).parent
    counting_modules = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if any(name in path.read_text("utf-8") for name in ("cpu_count(", "sched_getaffinity", "ThreadPoolExecutor()"))
    }
    assert counting_modules == {"machine.py"}


def test_a_tuning_can_be_written_read_and_deleted(tmp_path: Path) -> None:
    assert read_tuning(tmp_path) == Tuning()
    tuning = Tuning(threads=2, streams=2, precision="fp32", batch_tokens=4096)
    write_tuning(tmp_path, tuning, measured={})
    assert read_tuning(tmp_path) == tuning
    assert [path.name for path in tmp_path.iterdir()] == [TUNING_FILE]
    assert delete_tuning(tmp_path)
    assert not delete_tuning(tmp_path)
    assert read_tuning(tmp_path) == Tuning()


def test_the_tuning_of_another_machine_is_not_used(tmp_path: Path) -> None:
    path = write_tuning(tmp_path, Tuning(streams=4), measured={})
    content = json.loads(path.read_text())
    assert content["machine"] == machine_name()
    path.write_text(json.dumps({**content, "machine": "another"}))
    assert read_tuning(tmp_path) == Tuning()


@pytest.mark.parametrize("change", [{"streams": 0}, {"threads": "all"}, {"precision": "int3"}, {"huge_pages": True}])
def test_an_invalid_tuning_is_an_error(tmp_path: Path, change: dict[str, object]) -> None:
    path = write_tuning(tmp_path, Tuning(), measured={})
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "tuning": {**content["tuning"], **change}}))
    with pytest.raises(InputError, match="Run `umekomi tune --reset` to delete it"):
        Settings.from_environment({"UMEKOMI_CACHE": str(tmp_path)})


def test_the_environment_overrides_the_tuning(tmp_path: Path) -> None:
    write_tuning(tmp_path, Tuning(threads=3, streams=2, precision="fp32", batch_tokens=512), measured={})
    environment = {"UMEKOMI_CACHE": str(tmp_path)}
    tuned = Settings.from_environment(environment)
    assert (tuned.threads, tuned.streams, tuned.precision, tuned.batch_tokens) == (3, 2, "fp32", 512)
    overridden = Settings.from_environment({**environment, "UMEKOMI_STREAMS": "1", "UMEKOMI_BATCH_TOKENS": "64"})
    assert (overridden.threads, overridden.streams, overridden.precision, overridden.batch_tokens) == (3, 1, "fp32", 64)
    untuned = Settings.from_environment({**environment, "UMEKOMI_TUNED": "0"})
    assert (untuned.threads, untuned.streams, untuned.precision, untuned.batch_tokens) == (0, 1, "auto", 2048)
