"""Compiled graphs in the cache folder. Importing one takes a fraction of the time of reading the weights and compiling a graph.

The first process that loads a model writes its compiled graph in a background thread. Later processes map the file into memory.
The vectors have the same bytes as those of the graph that was exported.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ....assets.digests import Digests
from ....assets.prepared import PreparedFiles
from ....machine import machine_name
from ....settings import Settings
from ...forks import guard
from .. import byte_stability
from ..byte_stability import LIMITS, Mode
from .openvino_import import ov

VERSION = 1
"""Increases whenever graphs change, so that older files are not used."""
MIN_BYTES, MAX_BYTES = 8_000_000, 1_000_000_000
"""Weights in files of other sizes are not prepared: small ones are compiled quickly, large ones would fill the disk."""
_BLOB, _DESCRIPTION = "model.blob", "model.json"
_importing = threading.Lock()
"""Held while a graph is imported. All cores store the weights in another layout, and two files at once would need more memory."""


class PreparedGraph:
    """The compiled graph of one model in the cache folder. It must exist as long as the graphs that it has loaded.

    Args:
        files: Files that the graph is made from.
        settings: Cache folder, precision, threads, streams and tokens in a batch.
        key: What the graph depends on besides the files, as JSON data.
    """

    def __init__(self, files: Sequence[Path], settings: Settings, *, key: Sequence[object]) -> None:
        self._digests = Digests(settings.cache)
        self._files = PreparedFiles(settings)
        self._mappings: list[tuple[mmap.mmap, ov.Tensor]] = []
        size = sum(path.stat().st_size for path in files)
        self._is_enabled = MIN_BYTES <= size <= MAX_BYTES
        self._key: list[object] = [
            "openvino",
            VERSION,
            byte_stability.VERSION,
            ov.__version__,
            machine_name(),
            [os.environ.get(name, "") for name in LIMITS],
            [settings.precision, settings.threads, settings.streams, settings.batch_tokens],
            [self._digests.sha256(path) for path in files] if self._is_enabled else [],
            list(key),
        ]

    def find_mode(self) -> Mode | None:
        """Return the mode of the stored graph, or None if there is no graph or it is damaged."""
        folder = self._files.find(self._key) if self._is_enabled else None
        if folder is None:
            return None
        with suppress(OSError, ValueError, TypeError, KeyError):
            description = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
            if self._digests.sha256(folder / _BLOB) == description["sha256"]:
                return Mode(**description["mode"])
        self._files.discard(self._key)
        return None

    def load(self, options: dict[str, str]) -> ov.CompiledModel | None:
        """Return the stored graph, or None if it cannot be used.

        Args:
            options: OpenVINO's properties.
        """
        folder = self._files.find(self._key) if self._is_enabled else None
        if folder is None:
            return None
        try:
            # OpenVINO requires memory that can be written. Copy-on-write leaves the file as it is.
            with open(folder / _BLOB, "rb") as file:
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            blob = ov.Tensor(np.frombuffer(mapping, dtype=np.uint8), shared_memory=True)
            # The graph uses the memory without holding a reference to it.
            self._mappings.append((mapping, blob))
            with _importing:
                compiled = ov.Core().import_model(blob, "CPU", options)
                self.release_pages()
            return compiled
        except (OSError, ValueError, RuntimeError):  # the file was deleted or damaged meanwhile
            self._files.discard(self._key)
            return None

    def release_pages(self) -> None:
        """Remove the pages of the file from the memory of this process. Pages that are used again come from the system's cache.

        OpenVINO reads the whole file during the import, and most weights again during the first batch, and stores them in
        another layout. Afterwards, only some rows of the word embeddings are read from the file.
        """
        for mapping, blob in self._mappings:
            _release_pages(mapping, blob.data.ctypes.data)

    def store_in_background(self, compiled: ov.CompiledModel, mode: Mode) -> None:
        """Write a compiled graph in a thread. The process ends only after the file is complete."""
        if self._is_enabled:
            threading.Thread(target=self._store, args=(compiled, mode), name="umekomi-prepare").start()

    def _store(self, compiled: ov.CompiledModel, mode: Mode) -> None:
        def write(folder: Path) -> None:
            with guard.native():
                stream = io.BytesIO()
                compiled.export_model(stream)
            blob = folder / _BLOB
            blob.write_bytes(stream.getbuffer())
            digest = self._digests.sha256(blob)
            (folder / _DESCRIPTION).write_text(json.dumps({"sha256": digest, "mode": asdict(mode)}), "utf-8")

        with suppress(RuntimeError):  # the device cannot export graphs
            self._files.store(self._key, write)


def _release_pages(mapping: mmap.mmap, address: int) -> None:
    """Remove the pages of a file from memory, unless OpenVINO has written to them, because that would be lost."""
    if hasattr(mmap, "MADV_DONTNEED") and _count_written(address) == 0:
        mapping.madvise(mmap.MADV_DONTNEED)


def _count_written(address: int) -> int | None:
    """Return how many kB of the mapping at an address have been written, or None if the system does not tell."""
    with suppress(OSError, ValueError), open("/proc/self/smaps", encoding="utf-8") as smaps:
        is_mapping = False
        for line in smaps:
            name, _, value = line.partition(" ")
            if not name.endswith(":"):
                is_mapping = int(name.partition("-")[0], 16) == address
            elif is_mapping and name == "Anonymous:":
                return int(value.split()[0])
    return None
