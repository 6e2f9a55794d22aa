"""A cache folder for the vectors of model parts, so that models with common encoders embed each text once.

Caching is safe because the same text always gives the same bytes. The name of a file is a hash of everything that its vectors
depend on: the encoder's row in the catalog with its options, the SHA-256 of its files, the code that runs it, the precision, the
role and the texts. Files therefore never become invalid, and the folder can be deleted at any time.
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
from ..catalog import Catalog, EncoderSpec, Part
from ..embedder import Embedder
from ..encoders import Encoder, share_encoder
from ..progress import Progress
from ..settings import Settings
from ..vectors.arithmetic import FloatArray
from ..vectors.array_cache import read_array, write_array

BLOCK = 512
"""Number of texts in a file, which is the most that is computed again after a kill."""

# Lexical vectors are long and faster to compute than to read.
_UNCACHED = "lexical"
# Modules that change vectors after the encoders.
_LATER = ("alignment.py", "rotation.py")


class CachedEncoder(Encoder):
    """An encoder that reads vectors from a cache folder, and computes and writes missing ones.

    Args:
        encoder: Encoder that computes the vectors.
        description: Everything that the vectors depend on, except for the texts and the role.
        folder: Cache folder.
    """

    def __init__(self, encoder: Encoder, *, description: str, folder: Path) -> None:
        self.name = encoder.name
        self.dims = encoder.dims
        self.file_hashes = encoder.file_hashes
        self._encoder = encoder
        self._description = description
        self._folder = folder
        #: Number of texts that were not in the cache.
        self.n_computed = 0

    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            path = self._folder / f"{self._file_name(block, role)}.npy"
            computed = read_array(path, (len(block), self.dims))
            if computed is None:
                computed = self._encoder.encode(block, role=role)
                self.n_computed += len(block)
                write_array(path, computed)
            vectors[start : start + len(block)] = computed
            progress(len(block))
        return vectors

    def _file_name(self, texts: Sequence[str], role: str | None) -> str:
        key = json.dumps([self._description, role, list(texts)])
        return hashlib.sha256(key.encode()).hexdigest()[:32]

    def identity(self) -> dict[str, object]:
        return self._encoder.identity()


class PartVectors:
    """Loads models whose parts cache their vectors in one folder.

    Args:
        folder: Cache folder, which is created if it does not exist.
        settings: Location of the assets and settings of the computation.
        catalog: Catalog of the models.
    """

    def __init__(self, folder: Path, *, settings: Settings, catalog: Catalog) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._settings = settings
        self._catalog = catalog

    def load(self, model: str) -> Embedder:
        """Load a model."""
        return Embedder(model, settings=self._settings, catalog=self._catalog, build_encoder=self._build)

    def _build(self, spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder:
        encoder = share_encoder(spec, part, files, settings)
        if spec.type == _UNCACHED:
            return encoder
        hashes = {purpose: self._catalog.assets[name].sha256 for purpose, name in spec.assets.items()}
        runtime = [_compute_code_digest(settings.device), getattr(encoder, "precision", "")]
        description = json.dumps(
            [runtime, asdict(spec), dict(part.options), hashes, encoder.file_hashes], sort_keys=True
        )
        return CachedEncoder(encoder, description=description, folder=self._folder)


@cache
def _compute_code_digest(device: str) -> str:
    """Return a hash of the device and of the encoders' source code, because a version does not identify a development state."""
    folder = Path(encoders.__file__).parent
    library = "openvino" if device == "cpu" else "torch"
    digest = hashlib.sha256(f"{device} {version(library)}".encode())
    for path in sorted(folder.rglob("*.py")):
        if path.parent.name != _UNCACHED and path.name not in _LATER:
            digest.update(path.read_bytes())
    return digest.hexdigest()
