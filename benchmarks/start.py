"""Start-up times: import, help, and the first vector of a new process.

    python benchmarks/start.py [--rounds 5]

Each row is a separate process, and the shortest of several rounds counts. The files of the models are in the cache of the
operating system. CPU time (of all threads) is more reliable than wall-clock time on a shared machine. The last rows use
OpenVINO's cache of compiled models, which Umekomi does not use, to show what it would save.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

from machine import describe_machine

FIRST_VECTOR = "from umekomi import Embedder; Embedder({model!r}).embed(['good coffee'])"
WITH_CACHE = (
    "import umekomi.encoders.transformer.backends.openvino as backend; original = backend.compile_options; "
    "backend.compile_options = lambda *args: {{**original(*args), 'CACHE_DIR': {folder!r}}}; "
)
MODELS = ("all-MiniLM-L6-v2", "text-embedding-ada-002")


def run(command: list[str]) -> tuple[float, float]:
    """Run a process and return its wall-clock and CPU time in seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        python = [sys.executable, "-c"]
        rows = {
            "`python -c pass`": [*python, "pass"],
            "`import umekomi`": [*python, "import umekomi"],
            "`umekomi --help`": [sys.executable, "-m", "umekomi", "--help"],
            "`umekomi tokens` of one text": [sys.executable, "-m", "umekomi", "tokens", "good coffee"],
        }
        for model in MODELS:
            rows[f"first vector, {model}"] = [*python, FIRST_VECTOR.format(model=model)]
        for model in MODELS:
            code = WITH_CACHE.format(folder=folder) + FIRST_VECTOR.format(model=model)
            rows[f"first vector with OpenVINO's cache, {model}"] = [*python, code]
            run(rows[f"first vector with OpenVINO's cache, {model}"])
        shortest = dict.fromkeys(rows, (float("inf"), float("inf")))
        for number in range(rounds):
            for name, command in rows.items():
                print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
                shortest[name] = tuple(map(min, shortest[name], run(command)))
        size = sum(entry.stat().st_size for entry in os.scandir(folder))
    print(f"{describe_machine()}\n\n| process | seconds | CPU seconds |\n| --- | ---: | ---: |")
    for name, (wall, cpu) in shortest.items():
        print(f"| {name} | {wall:.3f} | {cpu:.3f} |")
    print(f"\nOpenVINO's cache of these models takes {size / 1e6:,.0f} MB.")


if __name__ == "__main__":
    main()
