"""The explorer in a real browser."""

import csv
import datetime
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi import Embedder

from .conftest import Served
from .sets import HTML, JAPANESE, empty, many, small
from .test_values import write

N = 80


@pytest.fixture(scope="module")
def served(fake: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("explore")
    server = Served(small(folder / "small.parquet", fake, N), cache=folder)
    yield server
    server.stop()


def open_page(page: Any, server: Served) -> Any:
    """Open the page and wait for its map and groups."""
    page.goto(server.url)
    page.wait_for_selector(".legend li", timeout=60_000)
    return page


def lasso(page: Any, left: float, top: float, right: float, bottom: float) -> None:
    """Draw a rectangle on the map, in fractions of its width and height."""
    box = page.locator(".map").bounding_box()
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 0.01)]
    page.keyboard.down("Shift")
    for index, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if index == 0:
            page.mouse.down()
    page.mouse.up()
    page.keyboard.up("Shift")


def test_the_page_shows_the_data_set_and_its_groups(page: Any, served: Served) -> None:
    open_page(page, served)
    assert page.title() == "small · Umekomi"
    assert f"{N} texts · umekomi-fake" in page.locator(".about").inner_text()
    assert "not by OpenAI" in page.locator("footer").inner_text()
    page.get_by_role("tab", name="Groups").click()
    names = " ".join(page.locator(".groups b").all_inner_texts())
    assert all(word in names for word in ("dog", "roast", "angry", "焙煎"))


def test_a_search_colors_the_map_and_lists_the_nearest_texts(page: Any, served: Served) -> None:
    open_page(page, served)
    page.keyboard.press("/")
    page.keyboard.type("green tea leaves")
    page.wait_for_selector(".texts button")
    assert all("green tea" in text for text in page.locator(".texts .text").all_inner_texts()[:5])
    assert page.locator(".legend .ramp").is_visible()


def test_no_letter_typed_right_after_the_slash_is_lost(page: Any, served: Served) -> None:
    open_page(page, served)
    page.get_by_role("tab", name="Groups").click()
    page.locator(".groups b").first.wait_for()
    # The field has the focus before the next key event, even if another panel was shown.
    lost = page.evaluate("""() => {
        const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        press("/");
        return Promise.resolve().then(() => document.activeElement.id !== "query");
    }""")
    assert not lost


def test_two_searches_are_compared(page: Any, served: Served) -> None:
    open_page(page, served)
    page.fill("#query", "green tea leaves")
    page.get_by_role("button", name="Compare two searches").click()
    page.fill("#second", "dog food bowl")
    page.get_by_role("heading", name="Nearest to the second").wait_for()
    assert page.locator(".ends").inner_text().split("\n") == ["green tea leaves", "dog food bowl"]


def test_a_filter_hides_other_rows(page: Any, served: Served) -> None:
    open_page(page, served)
    page.get_by_label("Add a filter…").select_option(label="stars")
    page.locator(".choices input").first.wait_for()
    for box in page.locator(".choices input").all()[:4]:
        box.uncheck()
    page.get_by_text(f"16 of {N} shown").wait_for()
    page.get_by_role("button", name="Remove this filter: stars").click()
    page.get_by_text(f"{N} texts ·").wait_for()


def test_a_range_of_numbers_filters(page: Any, served: Served) -> None:
    open_page(page, served)
    page.get_by_label("Add a filter…").select_option(label="price")
    page.locator(".range").wait_for()
    assert "80 texts ·" in page.locator(".about").inner_text(), "a filter that nobody has moved hides nothing"
    page.get_by_label("price from").fill("500")
    page.get_by_text("40 of 80 shown").wait_for()
    page.get_by_label("price from").fill("0")
    page.get_by_text("80 texts ·").wait_for()


def test_rows_with_a_missing_value_are_hidden_only_on_request(page: Any, served: Served) -> None:
    open_page(page, served)
    page.get_by_label("Add a filter…").select_option(label="shop")
    page.locator(".choices input").first.wait_for()
    assert "80 texts ·" in page.locator(".about").inner_text()
    page.locator(".choices label", has_text="(empty)").locator("input").uncheck()
    page.get_by_text("54 of 80 shown").wait_for()


def test_a_column_colors_the_map(page: Any, served: Served) -> None:
    open_page(page, served)
    page.get_by_label("Color by").select_option(label="shop")
    page.locator(".legend").get_by_text("north").wait_for()
    assert set(page.locator(".legend li").all_inner_texts()) == {"north", "south", "(empty)"}


def point_at_hit(page: Any, query: str, text: str) -> tuple[float, float]:
    """Search, center the map on the first hit, and move the pointer over its point. Return the position of the pointer."""
    page.fill("#query", query)
    # A click on a hit centers its point on the map.
    page.locator(".texts button", has_text=text).first.click()
    page.get_by_role("button", name="Close").click()
    box = page.locator(".map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    # The map is drawn later than the page changes, on a busy machine by seconds. The point is there once its text is shown.
    tip = page.locator(".tip", has_text=text)
    for _ in range(120):
        page.mouse.move(x - 60, y - 60)
        page.mouse.move(x, y, steps=5)
        page.wait_for_timeout(500)
        if tip.is_visible():
            return x, y
    raise AssertionError(f"the map shows no text at the point of {text!r}")


def test_the_pointer_over_a_point_shows_its_text(page: Any, served: Served) -> None:
    open_page(page, served)
    point_at_hit(page, "green tea leaves", "green tea")


def test_a_click_on_a_point_opens_its_record(page: Any, served: Served) -> None:
    open_page(page, served)
    page.mouse.click(*point_at_hit(page, "dog food bowl", "dog food bowl"))
    page.locator(".details .full").wait_for()
    assert "dog food bowl" in page.locator(".details .full").inner_text()
    assert page.locator(".details .texts button").count() == 10


def test_a_lasso_selection_has_a_table_terms_and_csv_files(page: Any, served: Served, tmp_path: Path) -> None:
    open_page(page, served)
    lasso(page, 0.98, 0.02, 0.01, 0.98)
    page.locator(".details table").wait_for()
    assert page.locator(".details .title").inner_text() == f"{N} texts selected"
    with page.expect_download() as download:
        page.get_by_role("button", name="Exact CSV").click()
    download.value.save_as(tmp_path / "selection.csv")
    with (tmp_path / "selection.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == N
    assert {row["text"] for row in rows} >= {HTML, JAPANESE}


def test_html_in_a_text_is_shown_and_not_run(page: Any, served: Served) -> None:
    open_page(page, served)
    page.fill("#query", "bold coffee img src")
    page.locator(".texts .text", has_text="onerror").first.click()
    page.locator(".details .full").wait_for()
    assert page.locator(".details .full").inner_text() == HTML
    assert page.locator(".details img").count() == 0
    assert page.title() == "small · Umekomi"


def test_more_like_this_searches_by_the_row(page: Any, served: Served) -> None:
    open_page(page, served)
    page.fill("#query", "slow angry delivery")
    page.locator(".texts button").first.click()
    page.get_by_role("button", name="More like this").click()
    page.wait_for_function("() => document.querySelector('#query').value.startsWith('≈')")
    assert page.locator("#view .score").first.inner_text() == "1.000"


def test_japanese_interface_and_texts(page: Any, served: Served) -> None:
    open_page(page, served)
    page.get_by_role("button", name="Show in Japanese").click()
    assert page.get_by_role("tab", name="グループ").is_visible()
    assert page.evaluate("document.documentElement.lang") == "ja"
    page.fill("#query", JAPANESE)
    page.locator(".texts .text", has_text="焙煎").wait_for()


def test_labels_are_assigned(page: Any, served: Served) -> None:
    open_page(page, served)
    page.get_by_role("tab", name="Labels").click()
    page.fill("#labels", "dog food bowl\ngreen tea leaves")
    page.locator("#view h2", has_text="green tea leaves").wait_for()
    assert page.locator(".legend li").count() == 2


def test_outliers_and_near_copies(page: Any, served: Served) -> None:
    open_page(page, served)
    page.get_by_role("tab", name="Outliers").click()
    page.locator("#view .texts button").first.wait_for()
    assert JAPANESE in page.locator("#view .texts .text").all_inner_texts()[:3]
    page.get_by_role("tab", name="Near-duplicates").click()
    page.locator("#view .quiet").wait_for()


def test_keys_move_the_map_and_escape_closes(page: Any, served: Served) -> None:
    open_page(page, served)
    page.locator(".map").focus()
    before = page.locator(".names span").first.get_attribute("style")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "(style) => document.querySelector('.names span').getAttribute('style') !== style", arg=before
    )
    page.fill("#query", "dog food bowl")
    page.locator(".texts button").first.press("Enter")
    page.locator(".details").wait_for()
    page.keyboard.press("Escape")
    page.locator(".details").wait_for(state="detached")


def test_dark_theme_and_phone(page: Any, served: Served) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, served)
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#query").is_visible()


def test_an_empty_data_set_is_reported(page: Any, fake: Embedder, tmp_path: Path) -> None:
    server = Served(empty(tmp_path / "empty.parquet", fake), cache=tmp_path)
    try:
        page.goto(server.url)
        page.locator(".nothing").wait_for()
    finally:
        server.stop()


def test_the_page_waits_for_a_stopped_server(page: Any, fake: Embedder, tmp_path: Path) -> None:
    path = small(tmp_path / "small.parquet", fake)
    server = Served(path, cache=tmp_path)
    open_page(page, server)
    server.stop()
    page.fill("#query", "dog food bowl")
    page.get_by_text("The server does not respond").wait_for()
    again = Served(path, port=server.port, cache=tmp_path)
    try:
        page.get_by_text("The server does not respond").wait_for(state="detached", timeout=30_000)
        page.fill("#query", "green tea leaves")
        page.locator(".texts .text", has_text="green tea").first.wait_for()
    finally:
        again.stop()


def test_the_page_reloads_for_another_data_set_at_the_same_address(page: Any, fake: Embedder, tmp_path: Path) -> None:
    first = Served(small(tmp_path / "first.parquet", fake), cache=tmp_path)
    open_page(page, first)
    page.fill("#query", "dog food bowl")
    page.locator(".texts button").first.wait_for()
    first.stop()
    # Model, rows and columns are the same; only the order of the rows differs.
    table = pq.read_table(tmp_path / "first.parquet")
    pq.write_table(table.take(list(range(N))[::-1]), tmp_path / "second.parquet")
    second = Served(tmp_path / "second.parquet", port=first.port, cache=tmp_path)
    try:
        page.locator(".texts button").first.click()
        page.get_by_text("now serves another data set: second").wait_for()
        page.wait_for_function("() => document.title === 'second · Umekomi'")
        assert page.locator(".details").count() == 0
    finally:
        second.stop()


def test_without_webgl_everything_but_the_map_works(page: Any, served: Served) -> None:
    page.add_init_script("""
        const real = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return /webgl/.test(kind) ? null : real.call(this, kind, ...rest);
        };
    """)
    open_page(page, served)
    page.get_by_text("This browser cannot draw the map").wait_for()
    page.fill("#query", "green tea leaves")
    page.locator(".texts button").first.click()
    page.locator(".details dl").wait_for()
    page.get_by_role("button", name="Close").click()
    lasso(page, 0.98, 0.02, 0.01, 0.98)
    page.locator(".details table").wait_for()


def test_rows_without_a_vector_and_unusual_column_names(page: Any, fake: Embedder, tmp_path: Path) -> None:
    texts = [f"green tea number {index}" for index in range(23)] + ["\u202ereversed\u202c " + "long " * 50_000]
    vectors = [*fake.embed([text[:200] for text in texts])]
    vectors[0] = None
    columns = {
        "text": pa.array(texts),
        "id": pa.array([2**60 + index for index in range(24)]),
        "day": pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None] * 8),
        "__proto__": pa.array(["a", "b", "c"] * 8),
        "constructor": pa.array([0.1, 0.2, None] * 8),
        "<img src=x onerror=alert(1)>": pa.array([True, False, None] * 8),
        "": pa.array([1.5, -1.5, math.inf] * 8),
    }
    server = Served(write(tmp_path / "odd.parquet", fake, vectors, columns), cache=tmp_path)
    try:
        open_page(page, server)
        for name in [*columns][1:]:
            page.get_by_label("Color by").select_option(index=[*columns].index(name))
            page.get_by_label("Add a filter…").select_option(index=1)
            page.locator("fieldset").nth([*columns].index(name) - 1).wait_for()
        assert "24 texts ·" in page.locator(".about").inner_text()
        page.get_by_text("1 rows have no usable vector").wait_for()
        page.get_by_role("button", name="Show them").click()
        page.locator(".details table").get_by_text(str(2**60)).wait_for()
        page.fill("#query", "long reversed")
        page.locator(".texts button").first.click()
        page.locator(".details dl").get_by_text(str(2**60 + 23)).wait_for()
        assert page.locator(".details .full").get_attribute("dir") == "auto"
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)  # about two minutes on two idle cores
def test_two_hundred_thousand_points(page: Any, tmp_path: Path) -> None:
    server = Served(many(tmp_path / "many.parquet", 200_000), cache=tmp_path)
    try:
        page.goto(server.url)
        page.wait_for_selector(".legend li", timeout=700_000)
        assert "200,000 texts" in page.locator(".about").inner_text()
        assert not page.locator("#query").is_enabled(), "its model is not here"
        lasso(page, 0.3, 0.3, 0.6, 0.6)
        page.locator(".details table").wait_for(timeout=300_000)
        assert "texts selected" in page.locator(".details .title").inner_text()
    finally:
        server.stop()
