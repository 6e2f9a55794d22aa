"""The browser fixtures of the explorer's tests."""

from tests.explore.conftest import browser, page

__all__ = ["browser", "page"]
