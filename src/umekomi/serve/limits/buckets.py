"""Rate limits in requests and tokens per minute: one pair of token buckets per client."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from ..errors import RateLimitError
from .keys import Key

Clock = Callable[[], float]

#: Seconds in which an empty bucket fills.
REFILL_SECONDS = 60.0


@dataclass(slots=True)
class BucketState:
    """The content of a bucket at one moment."""

    amount: float
    #: Time in seconds of the bucket's clock.
    at: float


class BucketStore(Protocol):
    """Storage for the states of buckets."""

    def locked(self, name: str, full: BucketState) -> AbstractContextManager[BucketState]:
        """Lock the state of a bucket for a block, which may change it.

        Args:
            name: Name of the bucket.
            full: Initial state of a new bucket.
        """
        ...


class LocalBuckets:
    """The buckets of a single process. Used from one event loop."""

    def __init__(self) -> None:
        self._states: dict[str, BucketState] = {}

    def locked(self, name: str, full: BucketState) -> AbstractContextManager[BucketState]:
        return nullcontext(self._states.setdefault(name, full))


class Bucket:
    """A token bucket that holds at most the amount of one minute and refills evenly."""

    def __init__(self, name: str, per_minute: int, store: BucketStore, clock: Clock) -> None:
        self.per_minute = per_minute
        self._name = name
        self._store = store
        self._clock = clock

    def take(self, amount: float) -> tuple[float, float]:
        """Take an amount if it is available.

        Returns:
            Seconds until the amount is available (0.0 if it was taken, infinite if the bucket can never hold it), and the
            amount that remains.
        """
        now = self._clock()
        with self._store.locked(self._name, BucketState(float(self.per_minute), now)) as state:
            # Another process may have read its clock a moment later.
            elapsed = max(0.0, now - state.at)
            state.amount = min(self.per_minute, state.amount + elapsed * self.per_minute / REFILL_SECONDS)
            state.at = max(now, state.at)
            seconds = float("inf") if amount > self.per_minute else self._wait(amount, state.amount)
            if not seconds:
                state.amount -= amount
            return seconds, state.amount

    def peek(self) -> tuple[float, float]:
        """Return the remaining amount, and the seconds until the bucket is full."""
        _, remaining = self.take(0)
        return remaining, self._wait(self.per_minute, remaining)

    def _wait(self, amount: float, remaining: float) -> float:
        return max(0.0, (amount - remaining) * REFILL_SECONDS / self.per_minute)


class Account:
    """The rate limits of one client.

    Args:
        key: The client's key.
        store: Storage for the buckets. By default, they belong to this account alone.
        clock: Returns seconds. All processes that share a store must use the same clock.
    """

    def __init__(self, key: Key, store: BucketStore | None = None, *, clock: Clock = time.monotonic) -> None:
        self.key = key
        store = store or LocalBuckets()
        self._buckets = {
            # The name contains the limit, so that a key whose limit was changed starts with a full bucket.
            resource: Bucket(f"{key.name} {key.digest} {resource} {limit}", limit, store, clock)
            for resource, limit in (("requests", key.requests_per_minute), ("tokens", key.tokens_per_minute))
            if limit is not None
        }

    def take(self, resource: str, amount: int) -> None:
        """Use an amount of ``requests`` or ``tokens``.

        Raises:
            RateLimitError: The amount is not available.
        """
        bucket = self._buckets.get(resource)
        if bucket is None:
            return
        seconds, remaining = bucket.take(amount)
        if seconds:
            unit = "RPM" if resource == "requests" else "TPM"
            if seconds == float("inf"):
                advice = "It can never pass: send fewer inputs at a time."
            else:
                advice = f"Please try again in {_duration(seconds)}."
            raise RateLimitError(
                f"Rate limit reached for {resource} per minute ({unit}): Limit {bucket.per_minute}, "
                f"Used {round(bucket.per_minute - remaining)}, Requested {amount}. {advice}",
                retry_after=min(max(seconds, 1.0), 60.0),
                resource=resource,
            )

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers ``x-ratelimit-*`` of the key's limits."""
        pairs: list[tuple[str, str]] = []
        for resource, bucket in self._buckets.items():
            remaining, seconds = bucket.peek()
            pairs += [
                (f"limit-{resource}", str(bucket.per_minute)),
                (f"remaining-{resource}", str(max(0, int(remaining)))),
                (f"reset-{resource}", _duration(seconds)),
            ]
        return [(f"x-ratelimit-{name}".encode(), value.encode()) for name, value in pairs]


def _duration(seconds: float) -> str:
    """Format a duration as the hosted API does: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.0f}s" if minutes else f"{rest:.4g}s"
