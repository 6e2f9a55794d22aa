"""What `umekomi tune` found to be fastest on this machine: a small file in the cache, read once with the settings.

It says how to compute, never what: whatever it holds, a model's vectors are of the same space
(see :mod:`umekomi.pipeline.autotune`).
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import InputError
from .files.outputs import write_text
from .machine import available_cores

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
FILE = "tuned.json"


@dataclass(frozen=True, slots=True)
class Tuning:
    """A choice of how to compute; the defaults are those without a tuning.

    Args:
        threads: CPU threads; 0 means all.
        streams: batches that run side by side, each on its share of the threads.
        precision: one of :data:`PRECISIONS`.
        batch_tokens: tokens in one batch.
    """

    threads: int = 0
    streams: int = 1
    precision: str = "auto"
    batch_tokens: int = 2048

    def __post_init__(self) -> None:
        numbers = ((self.threads, 0), (self.streams, 1), (self.batch_tokens, 1))
        if any(type(number) is not int or number < least for number, least in numbers):
            raise ValueError("threads, streams and batch_tokens are whole numbers")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}")


def machine() -> str:
    """A name for this machine's processors, with a hash of all that they can do: a tuning holds for these alone.

    The processors' name is not enough: a virtual machine says "AMD EPYC" of several generations.
    """
    text = ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "cpu family", "model", "flags", "Features", "CPU part"):
            facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name") or platform.processor() or platform.machine()
    what = hashlib.sha256(json.dumps([facts, platform.machine()], sort_keys=True).encode()).hexdigest()[:8]
    return f"{name}, {available_cores()} cores, {what}"


def read_tuning(cache: Path) -> Tuning:
    """The tuning kept in a cache folder; the defaults where there is none, or where it is another machine's.

    Raises:
        InputError: the file is not one that :func:`write_tuning` writes.
    """
    path = cache / FILE
    try:
        kept = json.loads(path.read_text("utf-8"))
        if kept["machine"] != machine():
            return Tuning()
        return Tuning(**kept["tuning"])
    except OSError:
        return Tuning()
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); `umekomi tune --reset` removes it.") from error


def write_tuning(cache: Path, tuning: Tuning, *, measured: Mapping[str, object]) -> Path:
    """Keep a tuning, with what was measured, for this machine; the path of the file."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / FILE
    kept = {"machine": machine(), "tuning": asdict(tuning), "measured": dict(measured)}
    write_text(path, json.dumps(kept, indent=1) + "\n")
    return path


def forget_tuning(cache: Path) -> bool:
    """Remove the tuning of a cache folder; whether there was one."""
    try:
        (cache / FILE).unlink()
    except FileNotFoundError:
        return False
    return True
