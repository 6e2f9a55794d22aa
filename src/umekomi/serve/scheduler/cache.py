"""Vectors of texts that were asked for before: bounded, in memory only, the longest unused forgotten first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from ...vectors.arithmetic import FloatArray

_OVERHEAD = 250
"""Bytes that an entry costs beside its numbers, about: two objects, a key and its place."""


class VectorCache:
    """Vectors by space, side and text. A text is kept as a hash alone. Used from one event loop.

    Args:
        limit: bytes of memory.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._vectors: OrderedDict[bytes, FloatArray] = OrderedDict()
        self.hits = 0
        """Texts that were found so far."""

    @staticmethod
    def key(space: str, text: str) -> bytes:
        """What names a text's vector: ``space`` says which model and which side of a search."""
        return hashlib.blake2b(f"{space}\0{text}".encode(), digest_size=24).digest()

    def get(self, key: bytes) -> FloatArray | None:
        """A vector ``(dims,) float32``, or None."""
        vector = self._vectors.get(key)
        if vector is not None:
            self.hits += 1
            self._vectors.move_to_end(key)
        return vector

    def put(self, key: bytes, vector: FloatArray) -> None:
        """Keep a copy of a vector ``(dims,) float32``, and forget others if there is no room."""
        if key in self._vectors:
            return
        self._vectors[key] = vector.copy()
        self._size += vector.nbytes + _OVERHEAD
        while self._size > self._limit:
            self._size -= self._vectors.popitem(last=False)[1].nbytes + _OVERHEAD
