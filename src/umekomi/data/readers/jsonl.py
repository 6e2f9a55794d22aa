"""JSON Lines: one object a line. A first pass checks every line and finds the columns' types.

Whole numbers stay exact. Numbers with a fraction or an exponent are kept as they are written until the type of their column is
known. A column of several types, or of objects and arrays that no Arrow type holds exactly, is kept as JSON text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import RecordError
from .base import CHUNK_CHARACTERS, CHUNK_ROWS, Records, source_column
from .numbers import NumberProfile
from .text_file import check_beginning, read_lines

MAX_DEPTH = 100
"""Objects and arrays in each other; deeper ones are rejected."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NEGATIVE_ZERO = re.compile(r"-0\s*[,}\]]")
_JSON_TYPE = {dict: "object", list: "array"}


class _Number(str):
    """A number as the file writes it."""

    __slots__ = ()


class _LineError(ValueError):
    """What is wrong with a line, as the end of a sentence."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _LineError(f"has the key {repeated!r} twice")
    return value


def _refuse_constant(name: str) -> Any:
    raise _LineError(f"holds {name}, which is not JSON")


_DECODER = json.JSONDecoder(parse_float=_Number, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
# For lines that have been checked already.
_FAST_DECODER = json.JSONDecoder(parse_float=_Number, parse_constant=_refuse_constant)
_SLOW_DECODER = json.JSONDecoder(
    parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys
)


def _parse(line: str, *, decoder: json.JSONDecoder) -> dict[str, Any]:
    """The object of a line.

    Raises:
        _LineError: The line is not a JSON object.
    """
    if line.count("[") + line.count("{") > MAX_DEPTH and _depth(line) > MAX_DEPTH:
        raise _LineError(f"is nested more than {MAX_DEPTH} deep")
    # Python refuses to parse very long whole numbers, and makes 0 of -0.
    has_special_number = len(line) > 4000 or ("-0" in line and _NEGATIVE_ZERO.search(line) is not None)
    decoder = _SLOW_DECODER if has_special_number else decoder
    try:
        value = decoder.decode(line)
    except _LineError:
        raise
    except (ValueError, RecursionError) as error:
        reason = str(error).removesuffix(".") if isinstance(error, ValueError) else "it is nested too deep"
        raise _LineError(f"is not JSON: {reason}") from error
    if not isinstance(value, dict):
        raise _LineError('is not a JSON object, as {"text": "…"}')
    record: dict[str, Any] = _well_formed(value) if _SURROGATE.search(line) else value
    return record


def _depth(line: str) -> int:
    depth = deepest = 0
    for mark in re.findall(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', line):
        if mark in "[{":
            depth += 1
            deepest = max(depth, deepest)
        elif mark in "]}":
            depth -= 1
    return deepest


def _well_formed(value: Any) -> Any:
    """The same value with U+FFFD in place of each half of a surrogate pair."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return _unique_keys([(_well_formed(key), _well_formed(item)) for key, item in value.items()])
    return [_well_formed(item) for item in value] if isinstance(value, list) else value


def _rows(path: Path, *, decoder: json.JSONDecoder = _DECODER) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    n_characters = 0
    for number, line in enumerate(read_lines(path, "utf-8-sig", advice="JSON Lines must be UTF-8."), start=1):
        if not line.strip():
            continue
        try:
            chunk.append(_parse(line, decoder=decoder))
        except _LineError as error:
            raise RecordError(f"Line {number} of {path} {error}.") from error
        n_characters += len(line)
        if len(chunk) == CHUNK_ROWS or n_characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, n_characters = [], 0
    if chunk:
        yield chunk


class _Profile:
    """What is known of the type of a column."""

    def __init__(self) -> None:
        self._types: set[type] = set()
        self._numbers = NumberProfile()
        self._nested: pa.DataType | None = pa.null()

    def add(self, values: list[Any]) -> None:
        types = set(map(type, values))
        self._types |= types
        if int in types:
            integers = [value for value in values if type(value) is int]
            self._numbers.add_range(min(integers), max(integers))
        if _Number in types:
            self._numbers.add(pa.array([value for value in values if type(value) is _Number], pa.string()))
        if types & {dict, list} and self._nested is not None:
            self._nested = _merged(self._nested, _nested_type(values))

    def type(self) -> pa.DataType | None:
        """The type of the column; None for a column that is kept as JSON text."""
        types = self._types - {type(None)}
        if types == {str} or not types:
            return pa.string()
        if types == {bool}:
            return pa.bool_()
        if types <= {int, _Number}:
            return None if self._numbers.type() == pa.string() else self._numbers.type()
        is_nested = types in ({dict}, {list}) and self._nested is not None
        return self._nested if is_nested and not _is_incomplete(self._nested) else None


def _nested_type(values: list[Any]) -> pa.DataType | None:
    """The Arrow type that holds all values exactly, if there is one."""
    plain = [_python_numbers(value) for value in values]
    try:
        array = pa.array(plain)
        return array.type if array.to_pylist() == plain else None
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None


def _python_numbers(value: Any) -> Any:
    if isinstance(value, _Number):
        # A number that a float does not hold exactly fails the comparison in _nested_type.
        number = float(value)
        return number if repr(number) == value else {"": value}
    if isinstance(value, dict):
        return {key: _python_numbers(item) for key, item in value.items()}
    return [_python_numbers(item) for item in value] if isinstance(value, list) else value


def _merged(one: pa.DataType, other: pa.DataType | None) -> pa.DataType | None:
    """The type of values of either type, if that is exact: only types of nothing but nulls give way."""
    if other is None or one == other or pa.types.is_null(one):
        return other
    if pa.types.is_null(other):
        return one
    if pa.types.is_list(one) and pa.types.is_list(other):
        item = _merged(one.value_type, other.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_struct(one) and pa.types.is_struct(other) and [f.name for f in one] == [f.name for f in other]:
        fields = {left.name: _merged(left.type, right.type) for left, right in zip(one, other, strict=True)}
        return None if None in fields.values() else pa.struct(list(fields.items()))
    return None


def _is_incomplete(kind: pa.DataType | None) -> bool:
    """Whether a part of a type is unknown or empty, which Parquet cannot hold."""
    if kind is None or pa.types.is_null(kind):
        return True
    if pa.types.is_list(kind):
        return _is_incomplete(kind.value_type)
    return pa.types.is_struct(kind) and (not kind.num_fields or any(_is_incomplete(field.type) for field in kind))


def to_json(value: Any) -> str:
    """A value as JSON text, its numbers as the file writes them."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        items = ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {to_json(item)}" for key, item in value.items())
        return f"{{{items}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(to_json, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str | None:
    """A value as a template embeds it: text as it is, lists of texts and numbers joined, anything else as JSON."""
    if value is None or type(value) is str:
        return value
    if type(value) is list and all(type(item) in (str, int, _Number) for item in value):
        return ", ".join(map(str, value))
    return to_json(value)


def _typed(values: Sequence[Any], kind: pa.DataType | None) -> pa.Array:
    if kind is None:
        return pa.array(
            [value if value is None or type(value) is str else to_json(value) for value in values], pa.string()
        )
    if kind == pa.float64():
        return pa.array([None if value is None else float(value) for value in values], kind)
    if pa.types.is_integer(kind):
        return pa.array([None if value is None else int(value) for value in values], kind)
    return pa.array([_python_numbers(value) for value in values] if pa.types.is_nested(kind) else values, kind)


def open_jsonl(path: Path, encoding: str) -> Records:
    """Open a JSON Lines file. It must be UTF-8; ``encoding`` is not used.

    Raises:
        RecordError: A line is not a JSON object; the message names the line.
    """
    check_beginning(path, "utf-8")
    profiles: dict[str, _Profile] = {}
    n_rows = 0
    for chunk in _rows(path):
        n_rows += len(chunk)
        for name in dict.fromkeys(key for row in chunk for key in row):
            profiles.setdefault(name, _Profile()).add([row.get(name) for row in chunk])
    if n_rows == 0:
        raise RecordError(f"{path} has no rows.")
    if not profiles:
        raise RecordError(f"{path} has no columns: all of its objects are empty.")
    kinds: Mapping[str, pa.DataType | None] = {name: profile.type() for name, profile in profiles.items()}
    schema = pa.schema([(name, pa.string() if kind is None else kind) for name, kind in kinds.items()])

    def batches(size: int, sources: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        wide = pa.schema([*schema, *((source_column(name), pa.string()) for name in sources)])
        for chunk in _rows(path, decoder=_FAST_DECODER):
            try:
                arrays = [_typed([row.get(name) for row in chunk], kind) for name, kind in kinds.items()]
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                raise RecordError(f"{path} was changed while it was read; start again.") from error
            texts = [pa.array([_text(row.get(name)) for row in chunk], pa.string()) for name in sources]
            yield pa.record_batch([*arrays, *texts], schema=wide)

    return Records(str(path), schema, n_rows, batches, source_batches=batches)
