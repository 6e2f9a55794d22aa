from dataclasses import replace
from html.parser import HTMLParser

import pytest

from umekomi import Embedder

pytest.importorskip("matplotlib", reason="matplotlib is in umekomi[tasks]")

from umekomi.bias import seat as bias
from umekomi.bias.report import comparison_page, p_text, seat_page, winogender_page
from umekomi.bias.winogender import Occupation, Schema, run_winogender


class Page(HTMLParser):
    """Collects what a page shows, and every address that it would fetch something from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name == "src" or (tag == "link" and name == "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def result() -> bias.SeatResult:
    return bias.run_tests(bias.choose_tests(["weat1", "weat6", "weat8"]), Embedder("umekomi-fake"))


def test_pages_are_complete_and_self_contained(result: bias.SeatResult) -> None:
    text = seat_page(result)
    page = Page(text)
    assert page.fetched == []
    assert "script" not in page.tags
    assert page.tags.count("svg") >= 2
    shown = " ".join(page.words)
    for wanted in (
        "This page has no overall score",
        "Recommendations",
        "not OpenAI's",
        result.fingerprint,
        "all targets",
    ):
        assert wanted in shown
    for effect in result.effects:
        assert f"{effect.d:+.2f}" in shown
        assert effect.source in shown
    largest = max((one for one in result.effects if one.social), key=lambda one: abs(one.d))
    assert largest.associations[0].sentence in shown


def test_user_text_is_escaped(result: bias.SeatResult) -> None:
    evil = replace(result, model="<script>alert(1)</script>")
    assert "<script>" not in seat_page(evil)
    assert "<script>" not in comparison_page([evil, evil], ["a.html", "b.html"])


def test_comparison_of_models(result: bias.SeatResult) -> None:
    for n in (2, 7):
        page = Page(comparison_page([replace(result, model=f"model {place}") for place in range(n)]))
        assert all(any(f"model {place}" in words for words in page.words) for place in range(n))


def test_winogender_page_has_a_dot_for_each_occupation() -> None:
    model = Embedder("umekomi-fake")
    schemas = [
        Schema(name, "x", True, (f"{name} he", f"{name} she", name), "she", "he")
        for name in ("cook", "sailor", "nurse")
    ]
    shares = {one.occupation: Occupation(one.occupation, 50.0 + n, 40.0 - n) for n, one in enumerate(schemas)}
    page = Page(winogender_page([run_winogender(schemas, shares, model)]))
    assert "sailor" in page.words
    assert any("does not resolve pronouns" in words for words in page.words)


def test_format_of_p_values() -> None:
    assert [p_text(p) for p in (0.00001, 0.00123, 0.0456, 1.0)] == ["< 0.0001", "0.0012", "0.046", "1.000"]
