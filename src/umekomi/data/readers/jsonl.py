"""Reads JSON Lines files. A first pass checks every line and finds the types of the columns.

Integers stay exact. Numbers with a fraction or an exponent are kept as text until the type of their column is known. A column of
several types, or of objects and arrays that no Arrow type represents exactly, is kept as JSON text.
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
"""Maximum nesting of objects and arrays."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NEGATIVE_ZERO = re.compile(r"-0\s*[,}\]]")


class _Number(str):
    """A number as it is written in the file."""

    __slots__ = ()


class _LineError(ValueError):
    """The error of a line. Its message is the end of a sentence."""


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
    """Parse the object of a line.

    Raises:
        _LineError: The line is not a JSON object.
    """
    if line.count("[") + line.count("{") > MAX_DEPTH and _depth(line) > MAX_DEPTH:
        raise _LineError(f"is nested more than {MAX_DEPTH} deep")
    # Python refuses to parse very long integers, and parses -0 as 0.
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
    record: dict[str, Any] = _replace_surrogates(value) if _SURROGATE.search(line) else value
    return record


def _depth(line: str) -> int:
    depth = maximum = 0
    for mark in re.findall(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', line):
        if mark in "[{":
            depth += 1
            maximum = max(depth, maximum)
        elif mark in "]}":
            depth -= 1
    return maximum


def _replace_surrogates(value: Any) -> Any:
    """Return a value with U+FFFD in place of each lone surrogate."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return _unique_keys([(_replace_surrogates(key), _replace_surrogates(item)) for key, item in value.items()])
    return [_replace_surrogates(item) for item in value] if isinstance(value, list) else value


def _read_chunks(path: Path, *, decoder: json.JSONDecoder = _DECODER) -> Iterator[list[dict[str, Any]]]:
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
    """Collects what determines the type of a column, from some values at a time."""

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
            self._nested = _merge_types(self._nested, _nested_type(values))

    def type(self) -> pa.DataType | None:
        """Return the type of the column, or None for a column that is kept as JSON text."""
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
    """Return the Arrow type that represents all values exactly, or None."""
    plain = [_parse_numbers(value) for value in values]
    try:
        array = pa.array(plain)
        return array.type if array.to_pylist() == plain else None
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None


def _parse_numbers(value: Any) -> Any:
    if isinstance(value, _Number):
        # The dict makes the comparison in _nested_type fail for a number that a float does not represent exactly.
        number = float(value)
        return number if repr(number) == value else {"": value}
    if isinstance(value, dict):
        return {key: _parse_numbers(item) for key, item in value.items()}
    return [_parse_numbers(item) for item in value] if isinstance(value, list) else value


def _merge_types(left: pa.DataType, right: pa.DataType | None) -> pa.DataType | None:
    """Return the type for values of either type, or None. Only the type of nulls is compatible with another type."""
    if right is None or left == right or pa.types.is_null(left):
        return right
    if pa.types.is_null(right):
        return left
    if pa.types.is_list(left) and pa.types.is_list(right):
        item = _merge_types(left.value_type, right.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_struct(left) and pa.types.is_struct(right) and [f.name for f in left] == [f.name for f in right]:
        fields = {field.name: _merge_types(field.type, other.type) for field, other in zip(left, right, strict=True)}
        return None if None in fields.values() else pa.struct(list(fields.items()))
    return None


def _is_incomplete(dtype: pa.DataType | None) -> bool:
    """Return whether a part of a type is unknown or empty, which Parquet cannot represent."""
    if dtype is None or pa.types.is_null(dtype):
        return True
    if pa.types.is_list(dtype):
        return _is_incomplete(dtype.value_type)
    return pa.types.is_struct(dtype) and (not dtype.num_fields or any(_is_incomplete(field.type) for field in dtype))


def to_json(value: Any) -> str:
    """Return a value as JSON text, with numbers as they are written in the file."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        items = ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {to_json(item)}" for key, item in value.items())
        return f"{{{items}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(to_json, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _to_text(value: Any) -> str | None:
    """Return a value as a template embeds it: texts unchanged, lists of texts and numbers joined, anything else as JSON."""
    if value is None or type(value) is str:
        return value
    if type(value) is list and all(type(item) in (str, int, _Number) for item in value):
        return ", ".join(map(str, value))
    return to_json(value)


def _to_arrow(values: Sequence[Any], dtype: pa.DataType | None) -> pa.Array:
    if dtype is None:
        return pa.array(
            [value if value is None or type(value) is str else to_json(value) for value in values], pa.string()
        )
    if dtype == pa.float64():
        return pa.array([None if value is None else float(value) for value in values], dtype)
    if pa.types.is_integer(dtype):
        return pa.array([None if value is None else int(value) for value in values], dtype)
    return pa.array([_parse_numbers(value) for value in values] if pa.types.is_nested(dtype) else values, dtype)


def open_jsonl(path: Path, encoding: str) -> Records:
    """Open a JSON Lines file. It must be UTF-8; ``encoding`` is not used.

    Raises:
        RecordError: A line is not a JSON object; the message names the line.
    """
    check_beginning(path, "utf-8")
    profiles: dict[str, _Profile] = {}
    n_rows = 0
    for chunk in _read_chunks(path):
        n_rows += len(chunk)
        for name in dict.fromkeys(key for row in chunk for key in row):
            profiles.setdefault(name, _Profile()).add([row.get(name) for row in chunk])
    if n_rows == 0:
        raise RecordError(f"{path} has no rows.")
    if not profiles:
        raise RecordError(f"{path} has no columns: all of its objects are empty.")
    types: Mapping[str, pa.DataType | None] = {name: profile.type() for name, profile in profiles.items()}
    schema = pa.schema([(name, pa.string() if dtype is None else dtype) for name, dtype in types.items()])

    def read(size: int, sources: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        wide = pa.schema([*schema, *((source_column(name), pa.string()) for name in sources)])
        for chunk in _read_chunks(path, decoder=_FAST_DECODER):
            try:
                arrays = [_to_arrow([row.get(name) for row in chunk], dtype) for name, dtype in types.items()]
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                raise RecordError(f"{path} was changed while it was read; start again.") from error
            texts = [pa.array([_to_text(row.get(name)) for row in chunk], pa.string()) for name in sources]
            yield pa.record_batch([*arrays, *texts], schema=wide)

    return Records(str(path), schema, n_rows, read, read_sources=read)
