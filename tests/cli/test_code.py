"""Tests of `umekomi code`, and of its MCP server with the official client."""

import asyncio
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Run

pytest.importorskip("lancedb")
with contextlib.suppress(ModuleNotFoundError):
    # The client uses the sys.stderr of the time of its import. Import it before a test replaces sys.stderr.
    importlib.import_module("mcp.client.stdio")

SHOP = '''\
def open_shop(door):
    """Open the door of the shop."""
    door.unlock()
    door.push(with_force=1)
    while not door.is_open:
        door.wait()
    return "open"
'''


@pytest.fixture
def repository(umekomi: Run, tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/shop.py").write_text(SHOP)
    (tmp_path / "src/copy.py").write_text("import shop\n\n\n" + SHOP.replace("open_shop", "open_store"))
    (tmp_path / "src/data.py").write_bytes(b"\0")
    done = umekomi("code", "index", "src", "-m", "umekomi-fake", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "2 files (2 new, 0 changed, 0 removed)" in done.stdout
    assert "skipped 1 binary" in done.stderr
    return tmp_path


def test_search_prints_location_score_signature_and_lines(umekomi: Run, repository: Path) -> None:
    result = umekomi("code", "search", "open the door of the shop", "-n", 1, "--lines", 2)
    head, first, second = result.stdout.splitlines()
    assert head.startswith("src/shop.py:1  0.")
    assert head.endswith("function  def open_shop(door)")
    assert first == "     1  def open_shop(door):"
    assert "Open the door" in second
    assert "\x1b" not in result.stdout


def test_the_status_without_hits_is_1_as_in_grep(umekomi: Run, repository: Path) -> None:
    result = umekomi("code", "search", "door", "--lang", "rust")
    assert (result.returncode, result.stdout) == (1, "")
    assert json.loads(umekomi("code", "search", "door", "--path", "none/", "--json").stdout) == {
        "query": "door",
        "hits": [],
    }


def test_similar_code_duplicates_and_index_information_are_shown(umekomi: Run, repository: Path) -> None:
    hit = json.loads(umekomi("code", "similar", "src/shop.py:3", "-n", 1, "--json").stdout)["hits"][0]
    assert (hit["path"], hit["start"]) == ("src/copy.py", 4)
    copies = umekomi("code", "duplicates", "--at-least", 0.9)
    assert copies.stdout.splitlines()[1:] == ["   src/copy.py:4  open_store", "   src/shop.py:1  open_shop"]
    assert umekomi("code", "duplicates", "--min-lines", 8).returncode == 1
    assert json.loads(umekomi("code", "info", "--json").stdout)["languages"] == {"python": 2}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["code", "search", "x"], "There is no index in"),
        (["code", "index", "nowhere"], "There is no file or folder nowhere"),
        (["code", "index"], "Name the folders to index"),
        (["code", "search", "x", "--lang", "cobol"], "Unknown language 'cobol'"),
        (["code", "similar", "shop.py"], "Write it like src/app.py:120"),
        (["code", "mcp"], "There is no index in"),
    ],
)
def test_invalid_input_prints_one_sentence_and_exits_with_status_2(
    umekomi: Run, arguments: list[str], sentence: str
) -> None:
    done = umekomi(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_watch_indexes_changed_files_until_ctrl_c(repository: Path) -> None:
    command = [sys.executable, "-m", "umekomi", "code", "index", "--watch", "--json"]
    process = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert json.loads(process.stdout.readline())["unchanged"] == 2
        while "Watching" not in process.stderr.readline():
            pass
        time.sleep(1)  # the watcher starts after the message
        (repository / "src/new.py").write_text("def fresh():\n    return 1\n")
        report = json.loads(process.stdout.readline())
        assert (report["added"], report["unchanged"]) == (1, 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        process.communicate()


def test_the_mcp_server_works_with_the_official_client(repository: Path) -> None:
    mcp = pytest.importorskip("mcp")
    from mcp.client.stdio import StdioServerParameters

    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "umekomi", "code", "mcp", "--update", "--index", str(repository / ".umekomi")],
        env=dict(os.environ),
    )

    async def call_tools() -> dict[str, Any]:
        async with mcp.Client(server) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            hits = await client.call_tool("search_code", {"query": "open the door of the shop", "n": 1})
            (repository / "src/late.py").write_text('def whale_song():\n    """Sing."""\n')
            late = await client.call_tool("search_code", {"query": "whale song", "n": 1, "lang": ["python"]})
            similar = await client.call_tool("similar_code", {"file": "src/shop.py", "line": 2, "n": 1})
            invalid = await client.call_tool("search_code", {"query": " "})
            copies = await client.call_tool("duplicate_code", {"at_least": 0.99})
            info = await client.call_tool("code_index_info", {})
            return {
                "tools": tools,
                "hits": hits,
                "late": late,
                "similar": similar,
                "invalid": invalid,
                "copies": copies,
                "info": info,
            }

    results = asyncio.run(call_tools())
    assert results["tools"] == ["search_code", "similar_code", "duplicate_code", "code_index_info"]
    assert results["hits"].structured_content["result"][0]["path"] == "src/shop.py"
    assert results["late"].structured_content["result"][0]["name"] == "whale_song"
    assert results["similar"].structured_content["result"][0]["path"] == "src/copy.py"
    assert results["invalid"].is_error
    assert "The query is empty" in results["invalid"].content[0].text
    assert results["copies"].structured_content == {"result": []}
    assert results["info"].structured_content["model"] == "umekomi-fake"
