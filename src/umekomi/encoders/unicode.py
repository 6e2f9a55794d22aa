"""Unicode normalization of texts, so that different encodings of the same text have the same vector.

NFKC (Unicode Standard Annex #15) unifies full-width and half-width characters, ligatures, enclosed characters and composed and
decomposed accents. It also joins characters that mean something apart: ``10²`` becomes ``102``, ``1½`` becomes ``11⁄2`` and
``Lego™`` becomes ``LegoTM``. :func:`normalize_text` separates those first.
"""

from __future__ import annotations

import re
import unicodedata

# Soft hyphens, word joiners, byte order marks and variation selectors: they change how text looks, not what it says.
_IGNORED = re.compile("[\u00ad\u2060\ufeff\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_EXPONENT = re.compile(r"(?<=\d)(?=[⁰¹²³⁴-⁹⁺⁻])")
_ENCLOSED = "①-⒛⓪-⓿"
_SEPARATE = re.compile(rf"(?<=[^\W_])(?=[™℠])|(?<=[\d{_ENCLOSED}])(?=[{_ENCLOSED}¼-¾⅐-⅞↉])")


def normalize_text(text: str) -> str:
    """Return a text in NFKC, without characters that are ignored, and with exponents, fractions and ™ kept apart.

    >>> normalize_text("Ｔｅａ ①② ｶﾞﾗｽ 10² 1½ CO₂ Lego™")
    'Tea 1 2 ガラス 10^2 1 1/2 CO2 Lego TM'
    """
    if text.isascii():
        return text
    text = _IGNORED.sub("", text)
    if unicodedata.is_normalized("NFKC", text):
        return text.replace("⁄", "/")
    text = _SEPARATE.sub(" ", _EXPONENT.sub("^", text))
    return unicodedata.normalize("NFKC", text).replace("⁄", "/")
