"""Finds the type of a column of numbers that are written as text: the narrowest type that represents every value exactly."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

# Numbers with a leading zero, a plus sign, an underscore or a space are identifiers, which stay text.
_INTEGER = r"^(0|-?[1-9][0-9]*)$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_EXACT_CHARACTERS = 16
"""A number of this length without an exponent has at most 15 digits, which a float64 always preserves."""
_EXACT_INTEGER = 2**53


class NumberProfile:
    """Collects what determines the type of a column, from some values at a time.

    >>> profile = NumberProfile()
    >>> profile.add(pa.array(["1", "18446744073709551615"]))
    >>> profile.type()
    DataType(uint64)
    """

    def __init__(self) -> None:
        self.is_number = True
        self._is_empty = True
        self._is_integer = True
        self._is_exact = True
        self._min = self._max = 0

    def add(self, texts: pa.Array) -> None:
        """Add values: texts that are neither null nor empty."""
        if not self.is_number or not len(texts):
            return
        self._is_empty = False
        integers = pc.match_substring_regex(texts, _INTEGER)
        if pc.all(integers).as_py():
            self.add_integers(texts)
        elif pc.all(pc.match_substring_regex(texts, _NUMBER)).as_py():
            self._is_integer = False
            self.add_integers(texts.filter(integers))
            self._is_exact = self._is_exact and _all_exact(texts)
        else:
            self.is_number = False

    def add_integers(self, texts: pa.Array) -> None:
        """Add integers in their canonical form."""
        if not len(texts):
            return
        try:
            bounds = pc.min_max(texts.cast(pa.int64())).as_py()
            low, high = bounds["min"], bounds["max"]
        except pa.ArrowInvalid:
            # Python refuses to parse thousands of digits. 25 digits are enough, because no type represents more than 20.
            values = [int(text[:25]) for text in texts.to_pylist()]
            low, high = min(values), max(values)
        self.add_range(low, high)

    def add_range(self, low: int, high: int) -> None:
        """Add integers by their minimum and maximum."""
        self._is_empty = False
        self._min, self._max = min(low, self._min), max(high, self._max)

    def type(self) -> pa.DataType:
        """Return int64, uint64 or float64 if it represents every value exactly, else string."""
        if self._is_empty or not self.is_number:
            return pa.string()
        if not self._is_integer:
            is_exact = self._is_exact and max(-self._min, self._max) <= _EXACT_INTEGER
            return pa.float64() if is_exact else pa.string()
        if self._min >= -(2**63) and self._max < 2**63:
            return pa.int64()
        return pa.uint64() if self._min >= 0 and self._max < 2**64 else pa.string()


def _all_exact(texts: pa.Array) -> bool:
    """Return whether every number equals the value that its nearest float64 is printed as."""
    is_short = pc.less_equal(pc.utf8_length(texts), _EXACT_CHARACTERS)
    has_exponent = pc.match_substring_regex(texts, "[eE]")
    candidates = texts.filter(pc.or_(pc.invert(is_short), has_exponent)).to_pylist()
    return all(_is_exact(text) for text in candidates)


def _is_exact(text: str) -> bool:
    printed = repr(float(text))
    if printed == text:
        return True
    try:
        return Decimal(printed) == Decimal(text)
    except InvalidOperation:
        return False
