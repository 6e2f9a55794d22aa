"""Figures: text in every script with an installed font, and names from the data drawn literally."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from tests.conftest import unavailable

from umekomi.errors import InputError
from umekomi.plots import fonts
from umekomi.plots.charts import draw_histogram, draw_map, escape_label, save
from umekomi.plots.colors import color_by
from umekomi.plots.fonts import DEFAULT_FAMILY, font_families, use_installed_fonts

SCRIPTS = {
    "Japanese": "珈琲豆の焙煎について",
    "Chinese": "咖啡豆的烘焙",
    "Korean": "커피 원두 로스팅",
    "Arabic": "تحميص حبوب القهوة",
    "Hebrew": "קליית פולי קפה",
    "Thai": "การคั่วเมล็ดกาแฟน้ำ",
    "Devanagari": "कॉफ़ी बीन्स भूनना क्ष",
    "Cyrillic": "обжарка кофе",
    "Greek": "καβούρδισμα καφέ",
    "emoji": "🚀☕",
}


def require_font(text: str) -> None:
    missing = font_families(text)[1]
    if missing:
        unavailable(f"no installed font has {missing} (Debian: fonts-noto-core, fonts-noto-cjk, fonts-symbola)")


def figure_with(text: str) -> Figure:
    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], label=text)
    axes.set_xticks([0, 1], ["0", text])
    axes.set_title(text)
    axes.legend(title=text)
    return figure


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS.keys())
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_every_glyph_of_a_script_with_an_installed_font_is_drawn(text: str, suffix: str, tmp_path: Path) -> None:
    require_font(text)
    figure = figure_with(text)
    assert use_installed_fonts(figure) == ""
    with warnings.catch_warnings():
        # Matplotlib warns of each glyph that it draws as a box.
        warnings.simplefilter("error")
        figure.savefig(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_texts_give_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    text = " ".join(text[:3] for text in SCRIPTS.values())
    for name in ("one", "two"):
        save(figure_with(text), tmp_path / f"{name}.{suffix}", report=lambda line: None)
    assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_fonts_installed_after_matplotlib_cached_its_list_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_font("珈琲")
    old = [font for font in font_manager.fontManager.ttflist if font.name == DEFAULT_FAMILY]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", old)
    fonts._add_new_fonts.cache_clear()
    fonts._characters_of.cache_clear()
    families, missing = font_families("珈琲")
    assert len(families) == 2
    assert missing == ""


def test_latin_text_needs_no_other_font() -> None:
    assert font_families("naïve café – Größe Žižek") == ((DEFAULT_FAMILY,), "")


def test_chinese_characters_with_kana_are_drawn_with_a_japanese_font() -> None:
    require_font("直の")
    japanese = [name for name in fonts._JAPANESE if fonts._characters_of(name) >= set("直の")]
    if not japanese:
        unavailable("no Japanese font is installed (Debian: fonts-noto-cjk)")
    assert font_families("直の")[0][1] == japanese[0]


def test_a_character_that_no_font_has_is_reported_in_one_line(tmp_path: Path) -> None:
    lines: list[str] = []
    save(figure_with("a\U000f1234b"), tmp_path / "a.png", report=lines.append)
    (line,) = lines
    assert "U+F1234" in line
    assert "no installed font" in line
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "name",
    [
        "$",
        "$x$",
        r"\$\frac{",
        "_hidden",
        "$\\undefined{",
        "a\nb",
        "\x1b[31mred\x07",
        "\udc80lone",
        "",
        "x" * 5000,
        "a_b^c%{}",
    ],
)
def test_any_name_from_the_data_can_be_drawn(name: str, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    coloring = color_by([name, "other"] * 3, name)
    draw_map(points, coloring, tmp_path / "a.svg", title=name, labels=[name, "other"])
    draw_histogram([[1, 2]], [name], tmp_path / "b.png", low=0, high=1, label="cosine")


def test_a_leading_underscore_does_not_hide_a_legend_entry() -> None:
    figure = figure_with(escape_label("_id"))
    (entry,) = figure.axes[0].get_legend().get_texts()
    assert entry.get_text().replace("\u200b", "") == "_id"


def test_long_names_are_cut_to_one_line() -> None:
    assert escape_label("word\n" * 100) == " ".join(["word"] * 12)[:59] + "…"


def test_other_suffixes_are_rejected_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a \.png, \.svg or \.pdf file"):
        save(figure_with("a"), tmp_path / "a.jpeg")
    assert not list(tmp_path.iterdir())
