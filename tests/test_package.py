"""The source archive and the wheel contain the page of the explorer, and are built without Node.js."""

import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.explore.conftest import Served
from tests.explore.sets import small
from umekomi import Embedder

ROOT = Path(__file__).parents[1]
PAGE = Path("src/umekomi/explore/web")


def build(format_: str, source: Path, target: Path) -> Path:
    """Build a distribution with hatchling, as pip does, without any program on the path."""
    code = f"import hatchling.build, sys; print(hatchling.build.build_{format_}(sys.argv[1]))"
    environment = {**os.environ, "PATH": "/nonexistent"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return target / result.stdout.split()[-1]


@pytest.fixture(scope="module")
def source_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the unpacked source archive."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def wheel(source_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the unpacked wheel that is built from the source archive."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build("wheel", source_archive, folder)) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_source_archive_and_its_wheel_contain_the_page(source_archive: Path, wheel: Path) -> None:
    page = contents(ROOT / PAGE)
    assert "index.html" in page
    assert contents(source_archive / PAGE) == page
    assert contents(wheel / PAGE.relative_to("src")) == page


def test_the_source_archive_contains_sources_and_documents_but_no_installed_packages(source_archive: Path) -> None:
    names = {path.name for path in source_archive.iterdir()}
    assert {"web", "tests", "docs", "Makefile", "constraints.txt", "SECURITY.md", "README.ja.md", "LICENSE"} <= names
    assert not (source_archive / "web" / "node_modules").exists()


def test_the_wheel_contains_the_licenses_of_the_bundled_libraries(wheel: Path) -> None:
    (licenses,) = wheel.glob("umekomi-*.dist-info/licenses")
    names = {path.name for path in licenses.rglob("*") if path.is_file()}
    assert names == {"LICENSE", "THIRD-PARTY.md"}


def test_an_installed_wheel_serves_its_own_page_without_node(wheel: Path, fake: Embedder, tmp_path: Path) -> None:
    copy = shutil.copytree(wheel, tmp_path / "wheel")
    with (copy / PAGE.relative_to("src") / "index.html").open("a", encoding="utf-8") as page:
        page.write("<!-- from the wheel -->")
    reviews = small(tmp_path / "reviews.parquet", fake)
    served = Served(reviews, cache=tmp_path, PYTHONPATH=str(copy), PATH="/nonexistent")
    try:
        with urllib.request.urlopen(served.url) as response:
            assert response.read().decode("utf-8").endswith("<!-- from the wheel -->")
    finally:
        served.stop()
