"""Projecting a direction out of all vectors, such as the one along which words for men and for women differ.

The direction is the mean difference between the vectors of word pairs (Dev & Phillips 2019, arXiv:1901.07656). Each vector keeps
its component orthogonal to the direction (the "neutralize" step of Bolukbasi et al. 2016, arXiv:1607.06520), scaled to length 1.
Only what lies along **one line** is removed. Gonen & Goldberg 2019 (arXiv:1903.03862) show that most of a bias can still be
measured afterwards. This is an experiment, not a cure.
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

SEPARATOR = ",without="
"""Separates a model's id from the name of a direction: ``text-embedding-ada-002,without=gender``."""

VERSION = 1
"""Increases whenever the same direction gives other vectors."""
_TEMPLATES = ("{}", "This is about {}.", "The word is {}.")


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction to project out, defined by word pairs."""

    #: Name in a model's id: that of a built-in direction or the path of a file.
    name: str
    #: Publication or file that the pairs come from.
    source: str
    pairs: tuple[tuple[str, str], ...]

    def identity(self) -> dict[str, object]:
        """Return what the direction depends on besides the model. It is part of the fingerprint of the vector space."""
        return {"version": VERSION, "pairs": self.pairs, "templates": _TEMPLATES}

    def compute(self, embed: Callable[[Sequence[str]], FloatArray]) -> FloatArray:
        """Return the direction in a model's vector space: ``(1, dims) float32`` of length 1.

        Args:
            embed: Function that embeds texts with the model.

        Raises:
            InputError: The words of the pairs have the same vectors.
        """
        left, right = (
            embed([template.format(pair[side]) for pair in self.pairs for template in _TEMPLATES]) for side in (0, 1)
        )
        difference = (left - right).mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
        if float(np.linalg.norm(difference)) < 1e-6:
            raise InputError(f"The words of the pairs of {self.name} do not differ for this model.")
        return normalize(difference)


def project_out(vectors: FloatArray, direction: FloatArray) -> FloatArray:
    """Remove the component along a direction ``(1, dims)`` and scale to length 1: ``(n, dims) -> (n, dims) float32``."""
    # Not a matrix product: its last bits depend on the number of rows.
    along = np.einsum("ij,j->i", vectors, direction[0], dtype=np.float64).astype(np.float32)
    return normalize(vectors - along[:, None] * direction)


@cache
def builtin_directions() -> dict[str, Direction]:
    """Return the directions that Umekomi includes, by name."""
    rows = tomllib.loads(resources.files(__package__).joinpath("directions.toml").read_text("utf-8"))
    return {
        name: Direction(name, row["source"], tuple((left, right) for left, right in row["pairs"]))
        for name, row in rows.items()
    }


def load_direction(name: str) -> Direction:
    """Return a built-in direction, or read a file with one pair per line, separated by a tab or a comma.

    Raises:
        InputError: There is no such direction or file, or the file does not contain pairs.
    """
    if name in builtin_directions():
        return builtin_directions()[name]
    path = Path(name)
    if not path.is_file():
        raise InputError(f"{name} is neither a file nor one of the directions {', '.join(builtin_directions())}.")
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text.") from error
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else ","))
    pairs = [tuple(cell.strip() for cell in row) for row in rows if any(cell.strip() for cell in row)]
    if not pairs or any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise InputError(f"{path} must contain one pair of words per line, such as she,he.")
    return Direction(name, str(path), tuple((left, right) for left, right in pairs))


def split_model(model: str) -> tuple[str, str]:
    """Split a model's id into the model and the name of a direction, which may be empty.

    >>> split_model("text-embedding-ada-002,without=gender")
    ('text-embedding-ada-002', 'gender')
    """
    base, _, name = model.partition(SEPARATOR)
    if SEPARATOR in model and not name:
        raise InputError(f"{model} does not name a direction. Write it like {base}{SEPARATOR}gender.")
    return base, name
