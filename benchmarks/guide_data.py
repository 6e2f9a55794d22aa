"""Data, splits and formatting of benchmarks/guide.py."""

import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from umekomi import Embedder
from umekomi.data.embedded_file import read_space
from umekomi.data.readers.opening import open_records
from umekomi.data.table import EmbeddedTable, read_table
from umekomi.evaluation.datasets import public_dataset, require_files
from umekomi.evaluation.duplicates import group_copies
from umekomi.evaluation.metrics import Estimate
from umekomi.evaluation.splits import split_groups
from umekomi.pipeline.single_file import Existing, embed_records
from umekomi.settings import current

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
BUILD = ROOT / "build" / "guide"
TEMPLATE = "Title: {Summary}; Content: {Text}"


@dataclass
class Row:
    """A row of the table, and the section about it."""

    use: str
    published: str
    ours: str
    command: str
    more: list[str] = field(default_factory=list)


@dataclass
class Guide:
    """Data of all use cases."""

    embedder: Embedder
    reviews: EmbeddedTable
    news: EmbeddedTable

    @cached_property
    def texts(self) -> np.ndarray:
        """The group of each review. Copies of a text are in the same group."""
        return group_copies(self.reviews.vectors, self.reviews.texts())

    @property
    def guide_split(self) -> tuple[np.ndarray, np.ndarray]:
        train, test = train_test_split(np.arange(len(self.reviews)), test_size=0.2, random_state=42)
        return train, test

    def tests(self, strata: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return the splits that figures are measured on: a name, the training rows and the test rows."""
        train, test = self.guide_split
        is_copy = np.isin(self.texts[test], self.texts[train])
        return [
            (f"guide's split: {len(test)} reviews, {is_copy.sum()} of them copies of training rows", train, test),
            (f"guide's split without copies: {(~is_copy).sum()} reviews", train, test[~is_copy]),
            ("split by text: 200 reviews", *split_groups(self.texts, strata=strata)),
        ]


def source(name: str) -> Path:
    """Return the file of a public data set, in UMEKOMI_ASSET_PATH or ../shared/data."""
    dataset = public_dataset(name)
    shared = ROOT.parent / "shared" / "data" / dataset.files[0].file
    return shared if shared.is_file() else next(iter(require_files(dataset, current()).values()))


def embedded(name: str, embedder: Embedder, template: str, of: str = "") -> EmbeddedTable:
    """Return the table ``name``: the data set ``of`` (by default ``name``), embedded unless it is cached."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{name}.parquet"
    if not path.exists() or read_space(path).fingerprint != embedder.fingerprint:
        say(f"embedding {name}")
        embed_records(
            open_records(source(of or name)), path, embedder=embedder, template=template, existing=Existing.OVERWRITE
        )
    return read_table(path)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def format_estimate(estimate: Estimate, digits: int = 3) -> str:
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def picture(name: str, caption: str) -> str:
    return f"![{caption}](pictures/{name})"


def short(text: str, width: int = 100) -> str:
    line = " ".join(text.split()).replace("|", "¦").replace("<", "&lt;")
    return line if len(line) <= width else line[: width - 1] + "…"
