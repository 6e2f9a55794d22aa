"""Rate limits that several processes share, in a memory-mapped file with one slot per bucket.

The parent process creates the file, which has no name, and its workers inherit the descriptor. A record lock keeps two processes
from changing a bucket at the same time; the system releases it if its holder is killed.
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

#: Hash of the bucket's name, its amount, and the time of that amount in seconds of the monotonic clock.
_SLOT = struct.Struct("<16sdd")


def create_shared_file(slots: int = 4096) -> BinaryIO:
    """Create the file for a number of buckets. It disappears when the last process that has it open ends."""
    file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - it is open as long as the server runs
    file.truncate(slots * _SLOT.size)
    return file


class SharedBuckets:
    """The buckets of all processes that have the same file open. Used from one event loop per process.

    Args:
        descriptor: Descriptor of a file of :func:`create_shared_file`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)
        self._offsets: dict[bytes, int] = {}

    @contextmanager
    def locked(self, name: str, full: BucketState) -> Iterator[BucketState]:
        """Lock the state of a bucket for a block, and store it at the end of the block. A new bucket is ``full``."""
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            offset = self._offsets.get(digest)
            if offset is None or self._memory[offset : offset + len(digest)] != digest:
                offset = self._offsets[digest] = self._find_slot(digest, full.at)
            owner, amount, at = _SLOT.unpack_from(self._memory, offset)
            state = BucketState(amount, at) if owner == digest else full
            yield state
            _SLOT.pack_into(self._memory, offset, digest, state.amount, state.at)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _find_slot(self, digest: bytes, now: float) -> int:
        """Return the offset of a bucket's slot, or of one that can be overwritten."""
        oldest_offset, oldest, free = 0, float("inf"), None
        for offset in range(0, len(self._memory), _SLOT.size):
            owner, _, at = _SLOT.unpack_from(self._memory, offset)
            if owner == digest:
                return offset
            # A bucket that has not been used for this long is full again, so that its state need not be stored.
            if free is None and (at == 0.0 or now - at > REFILL_SECONDS):
                free = offset
            if at < oldest:
                oldest_offset, oldest = offset, at
        return oldest_offset if free is None else free
