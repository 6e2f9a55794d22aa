"""Word frequencies: a file in the format of wordfreq, and a memory-mapped table that is ready at once."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgpack
import numpy as np
import numpy.typing as npt

from ...assets.digests import Digests
from ...assets.prepared import PreparedFiles
from ...errors import AssetCorruptError
from ...settings import Settings
from ...vectors.arithmetic import DoubleArray

_VERSION = 1
_MAX_LOOKUPS = 5_000
"""Number of lookups after which a dictionary, which takes a fifth of a second to build, pays off."""


def read_frequencies(path: Path) -> dict[str, float]:
    """Read word frequencies in the format of wordfreq, and return the share of each word in all text.

    The file is gzipped MessagePack: a header, then lists of words. List ``i`` contains the words with the frequency
    ``10 ** (-i / 100)``.

    Raises:
        AssetCorruptError: The file has another format.
    """
    try:
        header, *groups = msgpack.unpackb(gzip.decompress(path.read_bytes()))
    except (OSError, ValueError, msgpack.UnpackException) as error:
        raise AssetCorruptError(f"{path} is not a file of word frequencies. Run `umekomi models verify`.") from error
    if header.get("format") != "cB":
        raise AssetCorruptError(f"{path} contains word frequencies in an unknown format. Run `umekomi models verify`.")
    return {word: 10.0 ** (-index / 100.0) for index, words in enumerate(groups) for word in words}


class FrequencyTable(Mapping[str, float]):
    """Word frequencies in sorted arrays. They become a dictionary when many words are looked up.

    Args:
        words: ``(n,)`` sorted words in UTF-8.
        values: ``(n,) float64``, the share of each word in all text.

    >>> FrequencyTable(np.array([b"a", b"the"]), np.array([0.02, 0.05])).get("the", 0.0)
    0.05
    """

    def __init__(self, words: npt.NDArray[np.bytes_], values: DoubleArray) -> None:
        self._words = words
        self._values = values
        self._n_lookups = 0
        self._dictionary: dict[str, float] | None = None

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __getitem__(self, word: str) -> float:
        if self._dictionary is not None:
            return self._dictionary[word]
        self._n_lookups += 1
        if self._n_lookups > _MAX_LOOKUPS:
            return self._load()[word]
        key = word.encode("utf-8", "surrogatepass")
        # NumPy cuts longer words and drops zero bytes at the end.
        if len(key) <= self._words.dtype.itemsize and key[-1:] != b"\0":
            index = int(np.searchsorted(self._words, np.array(key, dtype=self._words.dtype)))
            if index < len(self._words) and self._words[index] == key:
                return float(self._values[index])
        raise KeyError(word)

    @property
    def smallest(self) -> float:
        """The frequency of the rarest word."""
        return float(self._values.min())

    def _load(self) -> dict[str, float]:
        if self._dictionary is None:
            words = (word.decode("utf-8") for word in self._words.tolist())
            self._dictionary = dict(zip(words, self._values.tolist(), strict=True))
        return self._dictionary


def smallest_frequency(frequencies: Mapping[str, float]) -> float:
    """Return the frequency of the rarest word, or 1e-8 if there are no words."""
    return frequencies.smallest if isinstance(frequencies, FrequencyTable) else min(frequencies.values(), default=1e-8)


def open_frequencies(path: Path, settings: Settings) -> Mapping[str, float]:
    """Return word frequencies, from the cache folder if possible.

    Args:
        path: File in the format of wordfreq.
        settings: Cache folder, where the sorted arrays are stored.

    Raises:
        AssetCorruptError: The file has another format.
    """
    return PreparedFiles(settings).load(
        ["frequencies", _VERSION, Digests(settings.cache).sha256(path)],
        read=_read_table,
        build=lambda: read_frequencies(path),
        write=_write_table,
    )


def _read_table(folder: Path) -> Mapping[str, float]:
    return FrequencyTable(*(np.load(folder / name, mmap_mode="r") for name in ("words.npy", "values.npy")))


def _write_table(frequencies: Mapping[str, float], folder: Path) -> None:
    words = np.array([word.encode("utf-8") for word in frequencies], dtype=np.bytes_)
    order = np.argsort(words, kind="stable")
    np.save(folder / "words.npy", words[order])
    np.save(folder / "values.npy", np.array(list(frequencies.values()), dtype=np.float64)[order])
