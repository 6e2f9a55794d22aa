"""Requests and tokens a minute: one pair of buckets a client, and the headers that tell it what is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from ...errors import OverloadedError
from .keys import Key

Clock = Callable[[], float]


class RateLimitError(OverloadedError):
    """A client has used what it may in a minute. ``kind`` is ``requests`` or ``tokens``."""

    def __init__(self, message: str, *, retry_after: float, kind: str) -> None:
        super().__init__(message, retry_after=retry_after)
        self.kind = kind


REFILL_SECONDS = 60.0
"""Seconds in which an empty bucket fills."""


@dataclass(slots=True)
class BucketState:
    """What was in a bucket at a moment of its clock, in seconds."""

    amount: float
    at: float


class BucketStore(Protocol):
    """Where the levels of buckets are kept."""

    def hold(self, name: str, full: BucketState) -> AbstractContextManager[BucketState]:
        """The level of a bucket, ``full`` if it is new, for the holder of the block alone; it may be changed there."""
        ...


class LocalBuckets:
    """The levels of one process that counts for itself. Used from one event loop."""

    def __init__(self) -> None:
        self._levels: dict[str, BucketState] = {}

    def hold(self, name: str, full: BucketState) -> AbstractContextManager[BucketState]:
        return nullcontext(self._levels.setdefault(name, full))


class Bucket:
    """Holds a minute's worth at most and fills evenly."""

    def __init__(self, name: str, per_minute: int, levels: BucketStore, clock: Clock) -> None:
        self.per_minute = per_minute
        self._name = name
        self._levels = levels
        self._clock = clock

    def take(self, amount: float) -> tuple[float, float]:
        """Take an amount, if it is there: the seconds until it will be (0.0 if it was taken; infinite if it is more than the
        bucket holds), and what is left."""
        now = self._clock()
        with self._levels.hold(self._name, BucketState(float(self.per_minute), now)) as level:
            # Another process may have looked at its clock a moment later.
            passed = max(0.0, now - level.at)
            level.amount = min(self.per_minute, level.amount + passed * self.per_minute / REFILL_SECONDS)
            level.at = max(now, level.at)
            seconds = float("inf") if amount > self.per_minute else self._wait(amount, level.amount)
            if not seconds:
                level.amount -= amount
            return seconds, level.amount

    def look(self) -> tuple[float, float]:
        """What is left, and the seconds until the bucket is full."""
        _, left = self.take(0)
        return left, self._wait(self.per_minute, left)

    def _wait(self, amount: float, left: float) -> float:
        return max(0.0, (amount - left) * REFILL_SECONDS / self.per_minute)


class Account:
    """What one client has left.

    Args:
        key: the client's.
        levels: where it is kept; by default for this account alone.
        clock: seconds; all processes that share levels have the same.
    """

    def __init__(self, key: Key, levels: BucketStore | None = None, *, clock: Clock = time.monotonic) -> None:
        self.key = key
        levels = levels or LocalBuckets()
        self._buckets = {
            # A key whose limit was changed begins anew.
            kind: Bucket(f"{key.name} {key.digest} {kind} {limit}", limit, levels, clock)
            for kind, limit in (("requests", key.requests_per_minute), ("tokens", key.tokens_per_minute))
            if limit is not None
        }

    @property
    def name(self) -> str:
        """The name of the client's key."""
        return self.key.name

    def take(self, kind: str, amount: int) -> None:
        """Use ``amount`` of ``requests`` or ``tokens``.

        Raises:
            RateLimitError: there is not so much left.
        """
        bucket = self._buckets.get(kind)
        if bucket is None:
            return
        seconds, left = bucket.take(amount)
        if seconds:
            what = "RPM" if kind == "requests" else "TPM"
            if seconds == float("inf"):
                then = "It can never pass: send fewer inputs at a time."
            else:
                then = f"Please try again in {_span(seconds)}."
            raise RateLimitError(
                f"Rate limit reached for {kind} per minute ({what}): Limit {bucket.per_minute}, "
                f"Used {round(bucket.per_minute - left)}, Requested {amount}. {then}",
                retry_after=min(max(seconds, 1.0), 60.0),
                kind=kind,
            )

    def headers(self) -> list[tuple[bytes, bytes]]:
        """``x-ratelimit-*`` of the limits that there are."""
        pairs: list[tuple[str, str]] = []
        for kind, bucket in self._buckets.items():
            left, seconds = bucket.look()
            pairs += [
                (f"limit-{kind}", str(bucket.per_minute)),
                (f"remaining-{kind}", str(max(0, int(left)))),
                (f"reset-{kind}", _span(seconds)),
            ]
        return [(f"x-ratelimit-{name}".encode(), value.encode()) for name, value in pairs]


def _span(seconds: float) -> str:
    """As the hosted API writes it: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.0f}s" if minutes else f"{rest:.4g}s"
