"""A limit on the memory that the bodies and responses of all requests take together."""

from __future__ import annotations

from ...errors import OverloadedError


class MemoryBudget:
    """A number of bytes that requests share. Used from one event loop.

    Args:
        limit: Maximum number of bytes of all requests together.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: Number of bytes that requests hold at present.
        self.used = 0

    def lease(self) -> MemoryLease:
        """Return a lease for one request, which holds nothing yet."""
        return MemoryLease(self)

    def take(self, amount: int, *, held: int) -> None:
        """Take bytes for a request that already holds ``held``. If no other request holds any, the limit does not apply."""
        if self.used > held and self.used + amount > self._limit:
            raise OverloadedError(
                "The server's memory is taken by other requests. Please try again in 1 s.", retry_after=1.0
            )
        self.used += amount


class MemoryLease:
    """The bytes that one request holds until its response has been sent."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._held = 0

    def take(self, amount: int) -> None:
        """Take more bytes. Raises OverloadedError if they are not available."""
        self._budget.take(amount, held=self._held)
        self._held += amount

    def release(self) -> None:
        """Return all bytes to the budget."""
        self._budget.used -= self._held
        self._held = 0
