"""The ``>>>`` examples in docstrings.

They use the model umekomi-fake, which needs no files. An example that needs files or a server has ``# doctest: +SKIP``.
"""

import doctest
import importlib
from pathlib import Path

import pytest

import umekomi
from umekomi.extras import missing_extra

SOURCE = Path(umekomi.__file__).parent
MODULES = [
    ".".join(("umekomi", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(SOURCE.rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_correct(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if missing_extra(error) is None:
            raise
        pytest.skip(f"{error.name} is not installed")
    assert not doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed


def test_few_examples_are_skipped() -> None:
    skipped = [
        line for path in SOURCE.rglob("*.py") for line in path.read_text("utf-8").splitlines() if "+SKIP" in line
    ]
    assert len(skipped) <= 10, skipped
