"""The committed build of the explorer's page, checked without Node.js."""

import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
BUILD = ROOT / "src" / "umekomi" / "explore" / "web"
NOT_SOURCES = {"node_modules", "test"}


def recorded_sources() -> dict[str, str]:
    """Return the path and SHA-256 of every source that the build recorded."""
    lines = (BUILD / "sources.sha256").read_text("utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def test_the_build_is_that_of_the_current_sources() -> None:
    tops = [top for top in WEB.iterdir() if top.name not in NOT_SOURCES]
    paths = [path for top in tops for path in (top, *top.rglob("*")) if path.is_file()]
    sources = {path.relative_to(WEB).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert recorded_sources() == sources, "web/ changed after the page was built: run `make web` and commit the build"


def test_the_page_refers_only_to_files_of_the_build() -> None:
    page = (BUILD / "index.html").read_text("utf-8")
    referred = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(referred) >= 3
    assert all(name.startswith("./") and (BUILD / name).is_file() for name in referred)


def test_every_script_that_a_script_imports_is_part_of_the_build() -> None:
    scripts = list((BUILD / "assets").glob("*.js"))
    names = {
        name for script in scripts for name in re.findall(r"[\"'`]\./([\w-]+\.js)[\"'`]", script.read_text("utf-8"))
    }
    assert names, "the build is split into several scripts"
    assert {name for name in names if not (BUILD / "assets" / name).is_file()} == set()


def test_the_licenses_of_all_bundled_libraries_are_included() -> None:
    notice = (BUILD / "THIRD-PARTY.md").read_text("utf-8")
    direct = json.loads((WEB / "package.json").read_text("utf-8"))["dependencies"]
    for name, version in direct.items():
        assert f"## {name} - {version} (" in notice
    licenses = set(re.findall(r"^## .* \((.*)\)$", notice, re.MULTILINE))
    assert licenses <= {"MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}, (
        "a license that was not reviewed yet"
    )
