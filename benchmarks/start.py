"""How long until something is there? Import, help, and the first vector of a cold process whose files are cached.

    python benchmarks/start.py [--rounds 5]

Every line is a process of its own; the least of the rounds counts, in turns. CPU seconds (of all threads) are beside the wall's,
since on a shared machine they are what can be compared. The last rows try OpenVINO's own cache of compiled models, which
Umekomi does not use: they say whether it should.
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
    "import umekomi.encoders.transformer.backends.openvino as engine; usual = engine.compile_options; "
    "engine.compile_options = lambda *how: {{**usual(*how), 'CACHE_DIR': {folder!r}}}; "
)
MODELS = ("all-MiniLM-L6-v2", "text-embedding-ada-002")


def run(command: list[str]) -> tuple[float, float]:
    """The wall's and the CPU's seconds of a process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        python = [sys.executable, "-c"]
        rows = {
            "python alone": [*python, "pass"],
            "`import umekomi`": [*python, "import umekomi"],
            "`umekomi --help`": [sys.executable, "-m", "umekomi", "--help"],
            "`umekomi tokens` of one text": [sys.executable, "-m", "umekomi", "tokens", "good coffee"],
        }
        for model in MODELS:
            rows[f"first vector, {model}"] = [*python, FIRST_VECTOR.format(model=model)]
        for model in MODELS:
            code = WITH_CACHE.format(folder=folder) + FIRST_VECTOR.format(model=model)
            rows[f"the same with OpenVINO's cache, {model}"] = [*python, code]
            run(rows[f"the same with OpenVINO's cache, {model}"])
        least = dict.fromkeys(rows, (float("inf"), float("inf")))
        for number in range(rounds):
            for name, command in rows.items():
                print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
                least[name] = tuple(map(min, least[name], run(command)))
        size = sum(entry.stat().st_size for entry in os.scandir(folder))
    print(f"{describe_machine()}\n\n| process | seconds | CPU seconds |\n| --- | ---: | ---: |")
    for name, (wall, cpu) in least.items():
        print(f"| {name} | {wall:.3f} | {cpu:.3f} |")
    print(f"\nOpenVINO's cache took {size / 1e6:,.0f} MB on disk for them.")


if __name__ == "__main__":
    main()
