"""The page of ``umekomi map -o map.html``, opened from a file in a browser without network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umekomi.plots.colors import color_by
from umekomi.plots.map_page import write_page

from ..explore.sets import HTML, JAPANESE

TEXTS = ["the upper left", "the upper right", HTML, JAPANESE, "the middle"]
CORNERS = [[-1, 1], [1, 1], [-1, -1], [1, -1], [0, 0]]


def write_map(folder: Path, is_3d: bool = False) -> Path:
    points = np.array(CORNERS, dtype=np.float32)
    if is_3d:
        points = np.concatenate([points, np.zeros((5, 1), dtype=np.float32)], axis=1)
    path = folder / "map.html"
    write_page(points, color_by([1, 2, 3, 4, 5], "Score"), path, texts=TEXTS, title="Five texts", note="Umekomi's own")
    return path


@pytest.fixture
def offline(page: Any) -> Any:
    """Return a page without network that records its requests."""
    page.context.set_offline(True)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    return page


def hover(page: Any, x: float, y: float) -> str:
    """Return the tooltip at a position of the map, whose corners are at -1 and 1."""
    box = page.locator("#map").bounding_box()
    scale = min(box["width"], box["height"]) * 0.46
    page.mouse.move(box["x"] + box["width"] / 2 + x * scale + 1, box["y"] + box["height"] / 2 - y * scale + 1)
    tip = page.locator("#tip")
    return str(tip.inner_text()) if tip.is_visible() else ""


def test_the_page_opens_from_a_file_without_requests(offline: Any, tmp_path: Path) -> None:
    path = write_map(tmp_path)
    offline.goto(path.as_uri())
    assert offline.title() == "Five texts"
    assert offline.locator("#count").inner_text() == "5 texts"
    assert offline.asked == [path.as_uri()]


def test_the_tooltip_shows_the_text_and_its_group_as_text(offline: Any, tmp_path: Path) -> None:
    offline.goto(write_map(tmp_path).as_uri())
    assert "the upper left" in hover(offline, -1, 1)
    assert "Score: 1" in hover(offline, -1, 1)
    assert "onerror" in hover(offline, -1, -1)
    assert JAPANESE in hover(offline, 1, -1)
    assert hover(offline, 0.5, 0) == ""
    assert offline.title() == "Five texts"
    assert offline.locator("#tip img").count() == 0


def test_the_legend_hides_groups_and_the_search_finds_texts(offline: Any, tmp_path: Path) -> None:
    offline.goto(write_map(tmp_path).as_uri())
    offline.locator("#legend button, #legend li").first.click()
    assert offline.locator("#count").inner_text() == "4 of 5 texts"
    assert hover(offline, -1, 1) == ""
    offline.fill("#find", "UPPER")
    assert offline.locator("#count").inner_text() == "1 of 5 texts"
    assert "the upper right" in hover(offline, 1, 1)


def test_dragging_rotates_the_map_and_reset_restores_it(offline: Any, tmp_path: Path) -> None:
    offline.goto(write_map(tmp_path, is_3d=True).as_uri())
    initial = offline.evaluate("document.getElementById('map').toDataURL()")
    box = offline.locator("#map").bounding_box()
    offline.mouse.move(box["x"] + 200, box["y"] + 200)
    offline.mouse.down()
    offline.mouse.move(box["x"] + 280, box["y"] + 240, steps=3)
    offline.mouse.up()
    offline.mouse.move(box["x"] + 5, box["y"] + box["height"] - 5)
    offline.wait_for_function("before => document.getElementById('map').toDataURL() !== before", arg=initial)
    offline.click("#reset")
    offline.wait_for_function("before => document.getElementById('map').toDataURL() === before", arg=initial)
