"""What a server tells Python's collector of cycles."""

import gc
from collections.abc import Iterator

import pytest

from umekomi.serve.models import freeze_garbage_collector


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector of this process, as it was."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_in_memory_is_looked_through_no_more_and_new_cycles_still_go() -> None:
    freeze_garbage_collector()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] > 700

    class Node:
        pass

    left, right = Node(), Node()
    left.other, right.other = right, left  # type: ignore[attr-defined]
    del left, right
    assert gc.collect() >= 2
