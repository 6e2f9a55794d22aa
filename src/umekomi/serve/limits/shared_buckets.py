"""BucketStore of buckets that several processes share: a table in memory that all of them map, one of them at a time.

The table is a file without a name; the process that starts the others makes it and hands it down. A record lock
keeps two processes from counting at once, and is let go of when its holder is killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from .buckets import REFILL_SECONDS, BucketState

_SLOT = struct.Struct("<16sdd")  # whose it is, its level, and when that was (seconds of the system's monotonic clock)


def create_shared_file(slots: int = 4096) -> BinaryIO:
    """A table for so many levels, all of them free; it is gone when the last process that has it ends."""
    table: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server
    table.truncate(slots * _SLOT.size)
    return table


class SharedBuckets:
    """The levels of one process, shared with those that have the same table. Used from one event loop.

    Args:
        descriptor: that of a file of :func:`create_shared_file`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)
        self._places: dict[bytes, int] = {}

    @contextmanager
    def hold(self, name: str, full: BucketState) -> Iterator[BucketState]:
        """The level that ``name`` has, ``full`` if it is new; it is kept as it is at the end of the block."""
        owner = hashlib.blake2b(name.encode(), digest_size=16).digest()
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            place, found = self._find(owner, full.at)
            level = full if found is None else found
            yield level
            _SLOT.pack_into(self._memory, place, owner, level.amount, level.at)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _find(self, owner: bytes, now: float) -> tuple[int, BucketState | None]:
        """Where an owner's level is, or may be put."""
        place = self._places.get(owner)
        if place is None or self._memory[place : place + len(owner)] != owner:
            place = self._search(owner, now)
            self._places[owner] = place
        holder, amount, at = _SLOT.unpack_from(self._memory, place)
        return place, BucketState(amount, at) if holder == owner else None

    def _search(self, owner: bytes, now: float) -> int:
        # Of those that nobody has used for so long that they are full again, nothing need be known.
        oldest, since, free = 0, float("inf"), None
        for place in range(0, len(self._memory), _SLOT.size):
            holder, _, at = _SLOT.unpack_from(self._memory, place)
            if holder == owner:
                return place
            if free is None and (at == 0.0 or now - at > REFILL_SECONDS):
                free = place
            if at < since:
                oldest, since = place, at
        return oldest if free is None else free
