"""How much memory the bodies and answers of all requests may take together."""

from __future__ import annotations

from ...errors import OverloadedError


class MemoryBudget:
    """A number of bytes, of which each request takes as much as it is about to need. Used from one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0
        """Bytes that requests hold at this moment."""

    def lease(self) -> MemoryLease:
        """What one request will hold; nothing yet."""
        return MemoryLease(self)

    def take(self, amount: int, *, held: int) -> None:
        """Take bytes for a request that holds ``held``. A request that is alone may have what it needs."""
        if self.taken > held and self.taken + amount > self._limit:
            raise OverloadedError(
                "The server's memory is taken by other requests. Please try again in 1 s.", retry_after=1.0
            )
        self.taken += amount


class MemoryLease:
    """What one request holds of a budget, until it is released when the answer has been sent."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._held = 0

    def take(self, amount: int) -> None:
        """Take more.

        Raises:
            OverloadedError: there is not so much left.
        """
        self._budget.take(amount, held=self._held)
        self._held += amount

    def release(self) -> None:
        """Give all back."""
        self._budget.taken -= self._held
        self._held = 0
