"""Requests and tokens a minute: one pair of buckets a client, and the headers that tell it what is left."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import OverloadedError
from .keys import Key

Clock = Callable[[], float]


class RateLimitError(OverloadedError):
    """A client has used what it may in a minute. ``kind`` is ``requests`` or ``tokens``."""

    def __init__(self, message: str, *, retry_after: float, kind: str) -> None:
        super().__init__(message, retry_after=retry_after)
        self.kind = kind


class Bucket:
    """Holds a minute's worth at most and fills evenly."""

    def __init__(self, per_minute: int, clock: Clock = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._at = clock()

    @property
    def remaining(self) -> float:
        """What may be taken now."""
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now
        return self._level

    def wait(self, amount: float) -> float:
        """Seconds until ``amount`` may be taken; infinite if it is more than the bucket holds."""
        if amount > self.per_minute:
            return float("inf")
        return max(0.0, (amount - self.remaining) * 60 / self.per_minute)

    def take(self, amount: float) -> None:
        """Take without asking; :meth:`wait` was asked."""
        self._level = self.remaining - amount


class Account:
    """What one client has left."""

    def __init__(self, key: Key, clock: Clock = time.monotonic) -> None:
        self.key = key
        self._buckets = {
            kind: Bucket(limit, clock)
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
        seconds = bucket.wait(amount)
        if seconds:
            what = "RPM" if kind == "requests" else "TPM"
            if seconds == float("inf"):
                then = "It can never pass: send fewer inputs at a time."
            else:
                then = f"Please try again in {_span(seconds)}."
            raise RateLimitError(
                f"Rate limit reached for {kind} per minute ({what}): Limit {bucket.per_minute}, "
                f"Used {round(bucket.per_minute - bucket.remaining)}, Requested {amount}. {then}",
                retry_after=min(max(seconds, 1.0), 60.0),
                kind=kind,
            )
        bucket.take(amount)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """``x-ratelimit-*`` of the limits that there are."""
        pairs: list[tuple[str, str]] = []
        for kind, bucket in self._buckets.items():
            pairs += [
                (f"limit-{kind}", str(bucket.per_minute)),
                (f"remaining-{kind}", str(max(0, int(bucket.remaining)))),
                (f"reset-{kind}", _span(bucket.wait(bucket.per_minute))),
            ]
        return [(f"x-ratelimit-{name}".encode(), value.encode()) for name, value in pairs]


def _span(seconds: float) -> str:
    """As the hosted API writes it: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.0f}s" if minutes else f"{rest:.4g}s"
