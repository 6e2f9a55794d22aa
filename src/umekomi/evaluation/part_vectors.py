"""Vectors of the parts of models, kept in a folder: the models of the catalogue share a few encoders, and what one of them has
made of a text serves every model, this time and next time.

That is safe because the same text gives the same bytes whatever its neighbours. A file's name is a hash of all that its
vectors depend on: the encoder's row of the catalogue with its options and the SHA-256 of its files, the code that runs it, the
precision, the side of the search, the texts. Nothing in the folder is ever wrong, only unused: it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from .. import encoders
from ..catalog import Catalog, EncoderSpec, Part, Role
from ..embedder import Embedder
from ..encoders import Encoder, share_encoder
from ..files.outputs import atomic_write
from ..progress import Progress
from ..settings import Settings
from ..vectors.arithmetic import FloatArray

BLOCK = 512
"""Texts in one file: what a kill costs at most."""

# Its vectors are long and cost less to make than to read.
_CHEAP = "lexical"


class CachedEncoder(Encoder):
    """An encoder whose vectors are read from a folder where they are there, and else made and written to it.

    Args:
        encoder: what makes them.
        described: all that they depend on but the texts and the side.
        folder: where they are kept.
    """

    def __init__(self, encoder: Encoder, *, described: str, folder: Path) -> None:
        self.name = encoder.name
        self.dims = encoder.dims
        self.file_hashes = encoder.file_hashes
        self._encoder = encoder
        self._described = described
        self._folder = folder
        self.made = 0
        """Texts that the encoder had to embed."""

    def _encode(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            path = self._folder / f"{self._name_of(block, role)}.npy"
            found = _read(path, (len(block), self.dims))
            if found is None:
                found = self._encoder.encode(block, role=role)
                self.made += len(block)
                _write(path, found)
            vectors[start : start + len(block)] = found
            progress(len(block))
        return vectors

    def _name_of(self, texts: Sequence[str], role: Role | None) -> str:
        described = json.dumps([self._described, role, list(texts)])
        return hashlib.sha256(described.encode()).hexdigest()[:32]

    def identity(self) -> dict[str, object]:
        return self._encoder.identity()


class PartVectors:
    """Loads models whose parts keep their vectors in one folder.

    Args:
        folder: where; it is made.
        settings: where assets are and how to compute.
        catalog: the models.
    """

    def __init__(self, folder: Path, *, settings: Settings, catalog: Catalog) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._settings = settings
        self._catalog = catalog

    def load(self, model: str) -> Embedder:
        """A model, as :class:`~umekomi.Embedder` loads it."""
        return Embedder(model, settings=self._settings, catalog=self._catalog, build_encoder=self._make)

    def _make(self, spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder:
        encoder = share_encoder(spec, part, files, settings)
        if spec.type == _CHEAP:
            return encoder
        hashes = {purpose: self._catalog.assets[name].sha256 for purpose, name in spec.assets.items()}
        how = [_code(settings.device), getattr(encoder, "precision", "")]
        described = json.dumps([how, asdict(spec), dict(part.options), hashes, encoder.file_hashes], sort_keys=True)
        return CachedEncoder(encoder, described=described, folder=self._folder)


@cache
def _code(device: str) -> str:
    """A hash of the device and of the code that vectors depend on: between two releases a version does not tell."""
    home = Path(encoders.__file__).parent
    library = "openvino" if device == "cpu" else "torch"
    digest = hashlib.sha256(f"{device} {version(library)}".encode())
    for path in sorted(home.rglob("*.py")):
        if path.parent.name != _CHEAP:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path, shape: tuple[int, int]) -> FloatArray | None:
    try:
        found: FloatArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def _write(path: Path, vectors: FloatArray) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, vectors, allow_pickle=False)
