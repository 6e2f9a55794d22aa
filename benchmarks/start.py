"""Start-up times: import, help, the first vector and the first search of a new process.

    python benchmarks/start.py [--rounds 5]

Each row is a separate process, and the shortest of several rounds counts. The files of the models are in the cache of the
operating system. CPU time (of all threads) is more reliable than wall-clock time on a shared machine. Ratios are to a process
that only imports the libraries that every search needs. "MB" is the largest resident memory, and "anonymous" the largest part
of it that is not the content of a file, which processes share. Rows "unprepared" run with UMEKOMI_PREPARE=0 and an empty folder
of prepared files, as the first run on a machine does. Modules are compiled before, as in an installed package.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from machine import describe_machine, describe_peak

FIRST_VECTOR = "from umekomi import Embedder; Embedder({model!r}).embed(['good coffee'])"
BASELINE = "import numpy, pyarrow, openvino"
MODELS = ("all-MiniLM-L6-v2", "text-embedding-ada-002")


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    wall: float
    cpu: float
    memory: float
    #: Largest resident memory in MB without the contents of files. 0 if the system does not tell.
    anonymous: float


def run(command: list[str], environment: dict[str, str]) -> Cost:
    """Run a process and return its wall-clock and CPU time in seconds, and its largest memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    anonymous = 0.0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        anonymous = max(anonymous, read_anonymous(process.pid))
        time.sleep(0.005)
    if status:
        raise SystemExit(f"{' '.join(command)} failed.")
    seconds = time.perf_counter() - start
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3, anonymous)


def read_anonymous(pid: int) -> float:
    """Return the anonymous resident memory of a process in MB, or 0."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next((int(line.split()[1]) / 1e3 for line in status if line.startswith("RssAnon:")), 0.0)
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        source, index = Path(folder, "rows.csv"), Path(folder, "rows.parquet")
        source.write_text("text\n" + "".join(f"review {number} of coffee and dog food\n" for number in range(100)))
        umekomi, python = [sys.executable, "-m", "umekomi"], [sys.executable, "-c"]
        # Without this variable, the first round writes compiled modules, which pip does for an installed package.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        run([*umekomi, "embed", str(source), "-o", str(index)], environment)
        rows = {
            "`python -c pass`": [*python, "pass"],
            "`import umekomi`": [*python, "import umekomi"],
            "`umekomi --help`": [*umekomi, "--help"],
            "`umekomi tokens` of one text": [*umekomi, "tokens", "good coffee"],
            f"`{BASELINE}`": [*python, BASELINE],
        }
        for model in MODELS:
            rows[f"first vector, {model}"] = [*python, FIRST_VECTOR.format(model=model)]
        rows["`umekomi search`, 100 rows"] = [*umekomi, "search", str(index), "good coffee"]
        for name in [*rows][-3:]:
            rows[f"{name}, unprepared"] = rows[name]
        costs: dict[str, list[Cost]] = {name: [] for name in rows}
        for number in range(rounds + 1):  # the first round prepares
            for name, command in rows.items():
                print(f"round {number} of {rounds}: {name}", file=sys.stderr)
                unprepared = {"UMEKOMI_PREPARE": "0"} if name.endswith("unprepared") else {}
                costs[name].append(run(command, {**environment, **unprepared}))
    best = {
        name: Cost(*np.array([[cost.wall, cost.cpu, cost.memory, cost.anonymous] for cost in list_[1:]]).min(axis=0))
        for name, list_ in costs.items()
    }
    base = best[f"`{BASELINE}`"]
    columns = ["process", "seconds", "CPU seconds", "ratio of CPU", "MB", "anonymous"]
    print(
        f"{describe_machine()}\n{describe_peak()}\n\n| {' | '.join(columns)} |\n| --- |{' ---: |' * (len(columns) - 1)}"
    )
    for name, cost in best.items():
        times = f"{cost.wall:.3f} | {cost.cpu:.3f} | {cost.cpu / base.cpu:.2f}"
        print(f"| {name} | {times} | {cost.memory:.0f} | {cost.anonymous:.0f} |")


if __name__ == "__main__":
    main()
