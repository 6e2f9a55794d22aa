"""Fonts for the text of a figure: Matplotlib's own font, and installed fonts for characters that it does not have."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

DEFAULT_FAMILY = "DejaVu Sans"
"""Matplotlib includes this font, so figures without other scripts look the same on every machine."""
_JAPANESE = (
    "Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", "IPAGothic", "TakaoGothic", "Hiragino Sans", "Yu Gothic", "Meiryo",
)  # fmt: skip
_KOREAN = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo", "Malgun Gothic")
_CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "PingFang SC", "Microsoft YaHei",
)  # fmt: skip
_UNUSUAL = ("Serif", "Mono", "Condensed", "Display", "Looped", "Symbols", " UI", "Typewriter")
# Fonts whose glyphs are only boxes, for every character.
_PLACEHOLDERS = ("lastresort", "last resort", "adobe blank")


def use_installed_fonts(figure: Figure) -> str:
    """Set fonts that have the characters of the figure's texts.

    Matplotlib takes each glyph from the first font of a list that has it. This function chooses the list from the
    characters in the figure and from the fonts that are installed now, because Matplotlib's cached list of fonts may be
    outdated.

    Returns:
        The characters that no installed font has, in order of their code points. They are drawn as empty boxes.
    """
    texts: list[Any] = figure.findobj(Text)
    for axes in figure.axes:
        # Tick labels are set only when the figure is drawn, and may be created again then.
        for axis in (axes.xaxis, axes.yaxis, *((axes.zaxis,) if hasattr(axes, "zaxis") else ())):
            texts += axis.get_ticklabels()
    families, missing = font_families("".join(text.get_text() for text in texts))
    for text in texts:
        text.set_fontfamily(list(families))
    for axes in figure.axes:
        axes.tick_params(labelfontfamily=list(families))
    return missing


def font_families(text: str) -> tuple[tuple[str, ...], str]:
    """Return the font families for a text, in order of preference, and the characters that none of them has."""
    needed = frozenset(character for character in text if _is_visible(character))
    missing = set(needed) - _characters_of(DEFAULT_FAMILY)
    families = [DEFAULT_FAMILY]
    if missing:
        _add_new_fonts()
        ordinary, unusual = _installed_families()
        for names in (ordinary, unusual):
            families += _cover(missing, names, _preferred(needed))
    return tuple(families), "".join(sorted(missing))


def _cover(missing: set[str], names: Iterable[str], preferred: tuple[str, ...]) -> list[str]:
    """Choose few families that have the missing characters, and remove the characters that they have."""
    candidates = {name: missing & _characters_of(name) for name in names} if missing else {}
    families = []
    while candidates:
        best = max(candidates, key=lambda name: (len(candidates[name] & missing), *_rank(name, preferred)))
        covered = candidates.pop(best) & missing
        if not covered:
            break
        families.append(best)
        missing -= covered
    return families


def _is_visible(character: str) -> bool:
    """Return False for spaces, control and format characters, and variation selectors, which need no glyph."""
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp"):
        return False
    return not ("\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef")


def _preferred(characters: frozenset[str]) -> tuple[str, ...]:
    """Return the fonts for Chinese characters, whose shapes depend on the language, ordered by the text's languages."""
    if any("\u3041" <= character <= "\u30ff" for character in characters):
        return (*_JAPANESE, *_CHINESE, *_KOREAN)
    if any("\uac00" <= character <= "\ud7a3" for character in characters):
        return (*_KOREAN, *_JAPANESE, *_CHINESE)
    return (*_CHINESE, *_JAPANESE, *_KOREAN)


def _rank(family: str, preferred: tuple[str, ...]) -> tuple[int, ...]:
    """Return a key that is greater for better fonts: preferred ones, then Noto fonts, then those with short names."""
    preference = -preferred.index(family) if family in preferred else -len(preferred)
    return preference, int(family.startswith("Noto Sans")), -len(family)


def _installed_families() -> tuple[list[str], list[str]]:
    """Return the families with an upright font of normal weight: ordinary sans-serif families, and all others."""
    names = sorted(font.name for font in _regular_fonts())
    unusual = {name for name in names if any(word in name for word in _UNUSUAL)}
    return [name for name in names if name not in unusual], sorted(unusual)


def _regular_fonts() -> list[font_manager.FontEntry]:
    """Return one font of each family."""
    fonts = {
        font.name: font
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and font.weight in (400, "normal", "regular") and font.stretch == "normal"
    }
    return [font for name, font in fonts.items() if not name.lower().lstrip(".").startswith(_PLACEHOLDERS)]


@lru_cache(maxsize=1)
def _add_new_fonts() -> None:
    """Add fonts that were installed after Matplotlib cached its list of fonts; once per process."""
    listed = {font.fname for font in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - listed):
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError, NotImplementedError, UnicodeError, ValueError, KeyError):
            continue  # a broken font, or one of bitmaps, such as color emoji, which Matplotlib cannot draw


@lru_cache(maxsize=1024)
def _characters_of(family: str) -> frozenset[str]:
    """Return the characters that a family's font has; none if the font cannot be read."""
    try:
        properties = font_manager.FontProperties(family=family)
        font = font_manager.get_font(font_manager.findfont(properties, fallback_to_default=False))
        return frozenset(map(chr, font.get_charmap()))
    except (OSError, RuntimeError, NotImplementedError, ValueError):
        return frozenset()
