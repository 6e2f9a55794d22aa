"""The memory-mapped word frequencies are those of the file, before and after they become a dictionary."""

import gzip
from pathlib import Path

import msgpack
import pytest

from umekomi.encoders.lexical import frequencies
from umekomi.encoders.lexical.frequencies import FrequencyTable, open_frequencies, read_frequencies, smallest_frequency
from umekomi.errors import AssetCorruptError
from umekomi.settings import Settings

GROUPS = [["the"], [], ["of", "naïve"], ["日本", "the cat"], ["a\0"], ["x" * 30]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "words.msgpack.gz"
    path.write_bytes(gzip.compress(msgpack.packb([{"format": "cB"}, *GROUPS])))
    return path


@pytest.mark.parametrize("max_lookups", [0, 5, 1000])
def test_the_table_has_the_frequencies_of_the_file(
    file: Path, tmp_path: Path, max_lookups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frequencies, "_MAX_LOOKUPS", max_lookups)
    expected = read_frequencies(file)
    assert open_frequencies(file, Settings(cache=tmp_path / "cache")) == expected
    table = open_frequencies(file, Settings(cache=tmp_path / "cache"))
    assert isinstance(table, FrequencyTable)
    words = [word for group in GROUPS for word in group if "\0" not in word]
    for word in [*words, "thE", "th", "then", "", "x" * 29, "x" * 40, "\ud800", "of\0", "zzz"]:
        assert table.get(word, 0.0) == expected.get(word, 0.0), word
    assert smallest_frequency(table) == smallest_frequency(expected) == 10 ** (-5 / 100)


def test_another_format_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "words").write_bytes(gzip.compress(msgpack.packb([{"format": "other"}])))
    with pytest.raises(AssetCorruptError, match="unknown format"):
        open_frequencies(tmp_path / "words", Settings(cache=tmp_path / "cache"))
