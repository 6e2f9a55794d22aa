"""Prints the contract's table (operation, engine, version) from a run of its tests.

    python -m tests.contracts.table              runs them, and prints Markdown; docs/stores.md has what it printed

A cell says how many of a test's cases passed; ``–`` is one that the engine does not run.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from typing import Any

import pytest


class Recorder:
    """A plugin of pytest that remembers each case."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], list[bool]] = defaultdict(list)
        self.versions: dict[str, str] = {}
        self.engines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        match = re.search(r"::test_(\w+)\[(.*)\]$", report.nodeid, re.DOTALL)
        if match is None or (report.when != "call" and report.passed):
            return
        from tests.contracts.engines import ENGINES

        names = [row.name for row in ENGINES]
        inside = match[2]
        found = [
            name for name in names if inside == name or inside.startswith(f"{name}-") or inside.endswith(f"-{name}")
        ]
        if not found:
            return
        engine = max(found, key=len)
        self.cells[match[1], engine].append(report.passed)
        self.engines = [name for name in names if name == engine or name in self.engines]
        for key, value in report.user_properties:
            if key == "version":
                self.versions[engine] = str(value)

    def table(self) -> str:
        """The table in Markdown."""
        operations = list(dict.fromkeys(operation for operation, _ in self.cells))
        heads = [f"{name} {self.versions.get(name, '')}{_stand_in(name)}".strip() for name in self.engines]
        lines = [f"| operation | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
        for operation in operations:
            cells = []
            for engine in self.engines:
                found = self.cells.get((operation, engine), [])
                cells.append("–" if not found else f"{sum(found)}" if all(found) else f"{sum(found)} of {len(found)}")
            lines.append(f"| {operation.replace('_', ' ')} | {' | '.join(cells)} |")
        return "\n".join(lines)


def _stand_in(name: str) -> str:
    """Said where no real engine answered: the version is then what the stand-in calls itself."""
    variables = {"qdrant": "QDRANT_URL", "weaviate": "WEAVIATE_URL", "pinecone": "PINECONE_API_KEY"}
    is_real = name not in variables or os.environ.get(f"UMEKOMI_TEST_{variables[name]}")
    return "" if is_real else " (stand-in)"


def main(arguments: list[str]) -> int:
    recorder = Recorder()
    plugins: list[Any] = [recorder]
    status = pytest.main(["tests/contracts/test_stores.py", "-q", *arguments], plugins=plugins)
    print(recorder.table())
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
