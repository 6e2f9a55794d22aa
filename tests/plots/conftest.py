"""The browser of the explorer's tests, for maps."""

from tests.explore.conftest import browser, page

__all__ = ["browser", "page"]
