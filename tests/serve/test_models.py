"""The garbage collector of a server process."""

import gc
from collections.abc import Iterator

import pytest

from umekomi.serve.models import freeze_garbage_collector


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Restore the garbage collector of this process after the test."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_present_objects_are_frozen_and_new_cycles_are_collected() -> None:
    freeze_garbage_collector()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] > 700

    class Node:
        pass

    left, right = Node(), Node()
    left.other, right.other = right, left  # type: ignore[attr-defined]
    del left, right
    assert gc.collect() >= 2
