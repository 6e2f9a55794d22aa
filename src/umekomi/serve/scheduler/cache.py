"""A cache of vectors in memory. The least recently used ones are evicted first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable

from ...vectors.arithmetic import FloatArray

#: Approximate size of an entry besides its numbers, in bytes: two objects, a key and its slot.
_OVERHEAD = 250


class VectorCache:
    """Vectors by fingerprint and text. Only a hash of each text is stored. Used from one event loop.

    Args:
        limit: Maximum size in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._vectors: OrderedDict[bytes, FloatArray] = OrderedDict()
        #: Number of texts whose vectors were in the cache.
        self.hits = 0

    @staticmethod
    def key(fingerprint: str, text: Hashable) -> bytes:
        """Return the key of a text's vector. The fingerprint identifies the model and the role."""
        return hashlib.blake2b(f"{fingerprint}\0{text}".encode(), digest_size=24).digest()

    def get(self, key: bytes) -> FloatArray | None:
        """Return a vector ``(dims,) float32``, or None."""
        vector = self._vectors.get(key)
        if vector is not None:
            self.hits += 1
            self._vectors.move_to_end(key)
        return vector

    def put(self, key: bytes, vector: FloatArray) -> None:
        """Store a copy of a vector ``(dims,) float32``, and evict others if the cache is full."""
        if key in self._vectors:
            return
        self._vectors[key] = vector.copy()
        self._size += vector.nbytes + _OVERHEAD
        while self._size > self._limit:
            self._size -= self._vectors.popitem(last=False)[1].nbytes + _OVERHEAD
