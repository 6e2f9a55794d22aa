"""Pytest options to skip tests that passed in an earlier run.

``.ci/run`` runs the suite twice: without model files and servers, and with all of them. A test that passed in the first run
would do the same in the second, so the second one only runs the others::

    pytest --write-passed build/passed.txt
    pytest --skip-passed build/passed.txt
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("umekomi")
    group.addoption("--write-passed", type=Path, metavar="FILE", help="write the IDs of the tests that passed")
    group.addoption("--skip-passed", type=Path, metavar="FILE", help="run only tests whose IDs are not in FILE")


class _PassedWriter:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._passed: set[str] = set()
        self._others: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._others.add(report.nodeid)
        elif report.when == "call":
            self._passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(f"{name!r}\n" for name in sorted(self._passed - self._others)), "utf-8")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--write-passed")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_PassedWriter(path))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    path = config.getoption("--skip-passed")
    if path is None:
        return
    passed = set(path.read_text("utf-8").splitlines())
    # Architecture tests depend on the installed packages, which differ between the runs.
    again = [item for item in items if repr(item.nodeid) not in passed or "test_architecture" in item.nodeid]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(again)])
    items[:] = again
