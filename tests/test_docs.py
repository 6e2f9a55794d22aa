"""The files, links and anchors that the documentation names exist."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md"))
    if path.name != "CHANGELOG.md"  # it also describes earlier states
)
# Modules are named relative to these folders.
SOURCES = [
    ROOT / folder for folder in (".", "src", "src/umekomi", "src/umekomi/encoders", "src/umekomi/encoders/transformer")
]
PATH = re.compile(r"`((?:src|tests|docs|benchmarks|examples|deploy|web|\.ci)/[\w./-]+|(?:[a-z_]+/)+[a-z_]+\.py)`")
LINK = re.compile(r"\]\(((?!https?:|#)[^)#\s]+)(?:#([^)]+))?\)")
EXAMPLES = {"umekomi_example/__init__.py"}


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub creates them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_files_exist(page: Path) -> None:
    named = set(PATH.findall(page.read_text("utf-8"))) - EXAMPLES
    assert not {name for name in named if not any((folder / name).exists() for folder in SOURCES)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_anchors_exist(page: Path) -> None:
    broken = set()
    for name, anchor in LINK.findall(page.read_text("utf-8")):
        target = page.parent / name
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.add(f"{name}#{anchor}")
    assert not broken


def test_the_pages_are_complete() -> None:
    tracked = subprocess.run(["git", "ls-files", "docs/*.md"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    assert {ROOT / name for name in tracked.stdout.split()} <= set(PAGES)
