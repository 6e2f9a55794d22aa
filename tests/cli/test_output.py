"""Terminals receive no control characters; pipes receive the exact text."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umekomi import Embedder
from umekomi.data.embedded_file import Space, write_embedded
from umekomi.escaping import visible

EVIL = "coffee\x1b]0;PWNED\x07\x1b[31mred\x1b[2J\r\x9b31m\u202egnp.exe\u2066\u061c\u200f\x7f\u2028end"
STATUS_LINE = re.compile(r"\r([ -~]+ … \d+:\d\d )?\x1b\[K")
HARMLESS = set(map(chr, range(0x20, 0x7F))) | {"\n", "\t", "\r"}


def on_a_terminal(folder: Path, *arguments: str) -> tuple[str, ...]:
    """Return what a command prints to two terminals, its standard output and its standard error."""
    terminals = [pty.openpty(), pty.openpty()]
    command = [sys.executable, "-m", "umekomi", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=terminals[0][1], stderr=terminals[1][1]
    )
    received = {leader: b"" for leader, _ in terminals}
    for _, follower in terminals:
        os.close(follower)
    open_terminals = set(received)
    while open_terminals:
        for leader in select.select(list(open_terminals), [], [])[0]:
            try:
                more = os.read(leader, 4096)
            except OSError:  # Linux reports a closed terminal as an error
                more = b""
            received[leader] += more
            if not more:
                open_terminals.remove(leader)
                os.close(leader)
    process.wait()
    return tuple(text.decode() for text in received.values())


@pytest.fixture
def embedded(tmp_path: Path, fake: Embedder) -> Path:
    records = pa.table({"text": [EVIL, "tea"], f"note{EVIL}": [EVIL, "x"], "label": [EVIL, "a"]})
    path = tmp_path / "evil.parquet"
    write_embedded(path, fake.embed([EVIL, "tea"]), records, Space(fake.model, fake.fingerprint, fake.dims))
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "{file}", "tea", "--columns", "label"),
        ("search", "{file}", "tea", "--json"),
        ("search", "{file}", "tea", "--columns", "nothing"),
        ("search", "{file}", "tea", "--where", "nothing = 1"),
        ("recommend", "{file}", "--row", "1"),
        ("embed", EVIL + ".csv", "-o", "out.parquet"),
        ("tokens", "-m", EVIL, "x"),
        ("store", "info", "{file}"),
        (EVIL,),
        ("search", f"--{EVIL}"),
    ],
    ids=lambda arguments: " ".join(arguments)[:20].encode("ascii", "replace").decode().replace("\x1b", "?"),
)
def test_a_terminal_receives_no_control_characters(embedded: Path, arguments: tuple[str, ...]) -> None:
    output = on_a_terminal(embedded.parent, *(word.replace("{file}", str(embedded)) for word in arguments))
    assert any(output)
    for text in (STATUS_LINE.sub("", text) for text in output):
        assert not {character for character in text if not character.isprintable()} - HARMLESS
        assert "\r" not in text.replace("\r\n", "\n")
    if "--json" in arguments:
        assert json.loads(output[0])["hits"][1]["record"]["text"] == EVIL


def test_a_pipe_receives_the_exact_text(embedded: Path) -> None:
    command = [sys.executable, "-m", "umekomi", "search", str(embedded), "tea", "--columns", "label"]
    plain = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert f"label={EVIL}" in plain
    document = subprocess.run([*command, "--json"], capture_output=True, check=True).stdout.decode()
    assert json.loads(document)["hits"][1]["record"]["text"] == EVIL


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_visible_text_has_no_control_characters(text: str) -> None:
    for is_one_line in (False, True):
        shown = visible(text, is_one_line=is_one_line)
        controls = {c for c in shown if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u061c\u200e\u200f\u2028\u2029"}
        assert controls <= (set() if is_one_line else {"\n", "\t"})
        assert not any(0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069 for c in shown)
        assert visible(shown, is_one_line=is_one_line) == shown


@pytest.mark.parametrize("text", ["日本語 naïve 👩‍👩‍👧 नमस्ते می‌خواهم", "a\\x1b", "tab\tnewline\n"])
def test_ordinary_text_is_not_changed(text: str) -> None:
    assert visible(text) == text


def test_all_commands_print_with_the_output_module() -> None:
    folder = Path(__file__).parents[2] / "src" / "umekomi" / "cli"
    for path in folder.rglob("*.py"):
        if path.name != "output.py":
            source = path.read_text("utf-8")
            assert "click.echo" not in source
            assert "click.style" not in source
            assert "click.confirm" not in source
            assert "print(" not in source.replace("_print(", "")
