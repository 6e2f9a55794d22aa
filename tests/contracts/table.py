"""Run the contract tests and print their results as the Markdown table of docs/stores.md.

Run it as ``python -m tests.contracts.table``. A cell is the number of cases of a test that passed. ``–`` means that the test does
not apply to the engine.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from typing import Any

import pytest


class Recorder:
    """A pytest plugin that records the result of each case."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], list[bool]] = defaultdict(list)
        self.versions: dict[str, str] = {}
        self.engines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        match = re.search(r"::test_(\w+)\[(.*)\]$", report.nodeid, re.DOTALL)
        if match is None or (report.when != "call" and report.passed):
            return
        from tests.contracts.engines import ENGINES

        names = [case.name for case in ENGINES]
        parameters = match[2]
        matches = [
            name
            for name in names
            if name == parameters or parameters.startswith(f"{name}-") or parameters.endswith(f"-{name}")
        ]
        if not matches:
            return
        engine = max(matches, key=len)
        self.cells[match[1], engine].append(report.passed)
        self.engines = [name for name in names if name == engine or name in self.engines]
        for key, value in report.user_properties:
            if key == "version":
                self.versions[engine] = str(value)

    def table(self) -> str:
        """Return the table in Markdown."""
        operations = list(dict.fromkeys(operation for operation, _ in self.cells))
        titles = [f"{name} {self.versions.get(name, '')}{_stand_in(name)}".strip() for name in self.engines]
        lines = [f"| operation | {' | '.join(titles)} |", f"| --- |{' ---: |' * len(titles)}"]
        for operation in operations:
            cells = []
            for engine in self.engines:
                passed = self.cells.get((operation, engine), [])
                cells.append(
                    "–" if not passed else f"{sum(passed)}" if all(passed) else f"{sum(passed)} of {len(passed)}"
                )
            lines.append(f"| {operation.replace('_', ' ')} | {' | '.join(cells)} |")
        return "\n".join(lines)


def _stand_in(name: str) -> str:
    """Return the note for engines that a stand-in replaces. Their version is that of the stand-in."""
    variables = {"qdrant": "QDRANT_URL", "weaviate": "WEAVIATE_URL", "pinecone": "PINECONE_API_KEY"}
    is_real = name not in variables or os.environ.get(f"UMEKOMI_TEST_{variables[name]}")
    return "" if is_real else " (stand-in)"


def main(arguments: list[str]) -> int:
    recorder = Recorder()
    plugins: list[Any] = [recorder]
    status = pytest.main(
        ["tests/contracts/test_stores.py", "tests/contracts/test_lance.py", "-q", *arguments], plugins=plugins
    )
    print(recorder.table())
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
