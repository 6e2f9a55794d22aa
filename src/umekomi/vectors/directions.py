"""Projecting one direction out of all vectors, such as the one along which words of men and of women differ.

The direction is the mean difference of the vectors of pairs of words (Dev & Phillips 2019, arXiv:1901.07656); what is left of
a vector is what stands at right angles to it (the "neutralise" step of Bolukbasi et al. 2016, arXiv:1607.06520), brought back to
length 1. This removes what lies along **one line**, no more: Gonen & Goldberg 2019 (arXiv:1903.03862) show that most of a
bias is still to be found in what remains. It is an experiment to measure, not a cure.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from ..errors import InputError
from .arithmetic import FloatArray, normalize

MARK = ",without="
"""Stands between a model's id and what is projected out of its vectors: ``text-embedding-ada-002,without=gender``."""

VERSION = 1
_TEMPLATES = ("{}", "This is about {}.", "The word is {}.")


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction to project out: the difference between the two sides of pairs of words."""

    name: str
    source: str
    pairs: tuple[tuple[str, str], ...]

    def identity(self) -> dict[str, object]:
        """What the direction depends on, beside the model: it enters the fingerprint of the space."""
        return {"version": VERSION, "pairs": self.pairs, "templates": _TEMPLATES}

    def of(self, embed: Callable[[Sequence[str]], FloatArray]) -> FloatArray:
        """The direction in a model's space: ``(1, dims) float32`` of length 1.

        Raises:
            InputError: the two sides of the pairs do not differ for this model.
        """
        left, right = (
            embed([template.format(pair[side]) for pair in self.pairs for template in _TEMPLATES]) for side in (0, 1)
        )
        difference = (left - right).mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
        if float(np.linalg.norm(difference)) < 1e-6:
            raise InputError(f"The two sides of the pairs of {self.name} do not differ for this model.")
        return normalize(difference)


def project_out(vectors: FloatArray, direction: FloatArray) -> FloatArray:
    """What of each vector stands at right angles to a direction ``(1, dims)``, at length 1: ``(n, dims) float32``."""
    # einsum, not a matrix product, whose last bits depend on how many rows there are.
    along = np.einsum("ij,j->i", vectors, direction[0], dtype=np.float64).astype(np.float32)
    return normalize(vectors - along[:, None] * direction)


@cache
def known_directions() -> dict[str, Direction]:
    """The directions that Umekomi ships, by name."""
    rows = tomllib.loads(resources.files(__package__).joinpath("directions.toml").read_text("utf-8"))
    return {
        name: Direction(name, row["source"], tuple((left, right) for left, right in row["pairs"]))
        for name, row in rows.items()
    }


def load_direction(name: str) -> Direction:
    """A known direction, or a file with one pair a line, the two sides parted by a tab or a comma.

    Raises:
        InputError: there is no such direction or file, or the file is not one of pairs.
    """
    if name in known_directions():
        return known_directions()[name]
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"{name} is neither a file of pairs nor a known direction; known are {', '.join(known_directions())}."
        )
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text.") from error
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else ","))
    pairs = [tuple(cell.strip() for cell in row) for row in rows if any(cell.strip() for cell in row)]
    if not pairs or any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise InputError(f"{path} must hold one pair a line, as she,he; every line needs two words.")
    return Direction(name, str(path), tuple((left, right) for left, right in pairs))


def split_model(model: str) -> tuple[str, str]:
    """A model's id and the name of what is projected out of it, which may be empty.

    >>> split_model("text-embedding-ada-002,without=gender")
    ('text-embedding-ada-002', 'gender')
    """
    base, _, name = model.partition(MARK)
    if MARK in model and not name:
        raise InputError(f"{model} names nothing to project out; write it like {base}{MARK}gender.")
    return base, name
