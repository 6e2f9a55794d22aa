"""Tests of `umekomi tokens`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.encoders.transformer.tiny import make_folder

from umekomi.assets.store import AssetStore

Run = Callable[..., subprocess.CompletedProcess[str]]
FAKE = ("-m", "umekomi-fake")


@pytest.mark.assets
def test_a_text_is_counted_and_priced(umekomi: Run, assets_here: AssetStore) -> None:
    done = umekomi("tokens", "tiktoken is great!")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "6 tokens of cl100k_base",
        "The hosted text-embedding-ada-002 would have charged $0.0000024. Here it is free.",
    ]
    facts = json.loads(umekomi("tokens", "tiktoken is great!", "--json").stdout)
    assert facts["tokens"] == 6
    assert facts["hosted_price_usd"] == pytest.approx(6 * 0.0004 / 1000)


@pytest.mark.assets
def test_printed_ids_can_be_decoded(umekomi: Run, assets_here: AssetStore) -> None:
    ids = umekomi("tokens", "tiktoken is great!", "--ids").stdout.strip()
    assert ids == "83 1609 5963 374 2294 0"
    assert umekomi("tokens", "--decode", ids).stdout == "tiktoken is great!\n"
    assert json.loads(umekomi("tokens", "--decode", "[83, 1609, 5963]", "--json").stdout)["text"] == "tiktoken"
    assert umekomi("tokens", "<|endoftext|>", "--ids").stdout != "100257\n"


@pytest.mark.assets
def test_the_reviews_of_the_guide_have_85637_tokens(umekomi: Run, assets_here: AssetStore, data: Path) -> None:
    done = umekomi("tokens", "--file", data / "fine_food_reviews_1k.csv", "-t", "{Text}", "--json")
    facts = json.loads(done.stdout)
    assert (facts["texts"], facts["tokens"], facts["too_long_rows"]) == (1000, 85_637, [])
    assert facts["hosted_price_usd"] == pytest.approx(0.0342548)


def test_rows_that_are_too_long_are_listed(umekomi: Run, tmp_path: Path) -> None:
    texts = ["short", "x" * 8191, "y" * 8192, "", "梅" * 3000]
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), "utf-8")
    with (tmp_path / "r.csv").open("w", encoding="utf-8") as file:
        file.write("id,text\n" + "".join(f'{row},"{text}"\n' for row, text in enumerate(texts)))
    pq.write_table(pa.table({"text": texts}), tmp_path / "r.parquet")
    for name in ("r.jsonl", "r.csv", "r.parquet"):
        facts = json.loads(umekomi("tokens", "--file", name, *FAKE, "--json").stdout)
        assert facts["texts"] == 5, name
        assert facts["tokens"] == sum(len(text.encode()) for text in texts), name
        assert facts["too_long_rows"] == [3, 5], name
    shown = umekomi("tokens", "--file", "r.csv", *FAKE).stdout
    assert "2 texts have more than 8,191 tokens, the model's limit: rows 3, 5" in shown


def test_a_text_is_read_from_a_file_or_standard_input(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff梅干し\n".encode())
    for arguments, standard_input in (
        (("--file", "a.txt"), None),
        (("-",), "梅干し\n"),
        ((), "梅干し\n"),
    ):
        done = umekomi("tokens", *arguments, *FAKE, input=standard_input)
        assert (done.returncode, done.stdout) == (0, "10 tokens of bytes\n")


def test_invalid_utf8_is_counted_with_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "umekomi", "tokens", "-", *FAKE]
    done = subprocess.run(command, input=b"a\xffb", capture_output=True, check=True)
    assert done.stdout == b"5 tokens of bytes\n"
    assert b"byte 1" in done.stderr


def test_one_token_is_printed_in_the_singular(umekomi: Run) -> None:
    assert umekomi("tokens", "a", *FAKE).stdout == "1 token of bytes\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "--file", "a.txt"), "one of TEXT, --file and --decode"),
        (("a", "--decode", "1"), "one of TEXT, --file and --decode"),
        (("a", "-t", "{x}"), "-t needs a file of records"),
        (("--file", "none.csv"), "none.csv"),
        (("--file", "none.txt"), "none.txt"),
        (("--file", "none.csv", "--ids"), "--ids needs a single text"),
        (("--decode", "1 two"), "'two' is not a token ID"),
        (("--decode", "256"), "256 is not in the vocabulary"),
        (("--decode", "-1"), "-1 is not in the vocabulary"),
        (("a", "-m", "text-embedding-ada-003"), "text-embedding-ada-002"),
    ],
)
def test_invalid_input_prints_one_sentence_and_exits_with_status_2(
    umekomi: Run, arguments: tuple[str, ...], message: str
) -> None:
    model = () if "-m" in arguments else FAKE
    done = umekomi("tokens", *arguments, *model)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1


def test_help_shows_an_example(umekomi: Run) -> None:
    done = umekomi("tokens", "--help")
    assert done.returncode == 0
    assert "--decode" in done.stdout
    assert "reviews.csv" in done.stdout


def test_a_model_in_a_folder_uses_its_own_vocabulary(umekomi: Run, tmp_path: Path) -> None:
    make_folder(tmp_path / "m", "bert")
    facts = json.loads(umekomi("tokens", "one two nothing", "-m", "./m", "--json").stdout)
    assert (facts["tokens"], facts["tokenizer"], facts["hosted_price_usd"]) == (3, "own", None)
