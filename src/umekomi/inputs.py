"""What can be embedded: type hints that accept it, and the function that turns it into a list.

Accepted are sequences of texts such as lists and tuples (but not a single string), columns of pandas, Polars and pyarrow, and
NumPy arrays. Tables, mappings and sets are rejected, because iterating them gives column names, keys, or an arbitrary order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any, Protocol, TypeVar

from .errors import InputError

_T_co = TypeVar("_T_co", covariant=True)


class SequenceNotStr(Protocol[_T_co]):
    """A sequence that is not a string: ``str.__contains__`` accepts only strings, so ``str`` does not match."""

    def __getitem__(self, index: int, /) -> _T_co: ...
    def __contains__(self, value: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_T_co]: ...
    def __reversed__(self) -> Iterator[_T_co]: ...
    def index(self, value: Any, start: int = 0, stop: int = ..., /) -> int: ...
    def count(self, value: Any, /) -> int: ...


class Series(Protocol):
    """A column of pandas or Polars."""

    def to_list(self) -> list[Any]: ...


class Array(Protocol):
    """A NumPy array."""

    def tolist(self) -> Any: ...


class ArrowArray(Protocol):
    """An ``Array`` or ``ChunkedArray`` of pyarrow, but not a table."""

    @property
    def null_count(self) -> int: ...
    def to_pylist(self) -> list[Any]: ...


Input = str | Sequence[int]
"""A text, or token ids in the model's own vocabulary."""

_Views = KeysView[str] | ValuesView[Input]
Inputs = SequenceNotStr[Input] | Series | Array | ArrowArray | Iterator[Input] | _Views
"""Several texts, each as text or as token ids."""

Texts = SequenceNotStr[str] | Series | Array | ArrowArray | Iterator[str] | KeysView[str] | ValuesView[str]
"""Several texts."""


def list_inputs(inputs: object) -> list[Any]:
    """Return the items of a sequence, a column or an array as a list. The items themselves are not checked.

    >>> import pyarrow as pa
    >>> list_inputs(pa.array(["two beans", None]))
    ['two beans', None]

    Raises:
        InputError: ``inputs`` is a single text, a table, a mapping, a set or not iterable.
    """
    if type(inputs) is list:
        return inputs.copy()
    if isinstance(inputs, str | bytes):
        raise InputError("Give a list of texts; put the one text in a list.", param="input")
    if isinstance(inputs, Mapping | set | frozenset):
        raise InputError(f"Give a list of texts, not a {type(inputs).__name__}.", param="input")
    # Looked up on the class, because reading the columns of a lazy table may be slow.
    if hasattr(type(inputs), "columns") or hasattr(type(inputs), "column_names"):
        raise InputError("Give one column of texts, not a table, such as table['text'].", param="input")
    for name in ("to_pylist", "to_list", "tolist"):
        if callable(method := getattr(inputs, name, None)):
            inputs = method()
            break
    if isinstance(inputs, str) or not isinstance(inputs, Iterable):
        raise InputError("Give a column or a list of texts.", param="input")
    return list(inputs)


def list_texts(inputs: object) -> list[str]:
    """Return the texts of a sequence, a column or an array as a list.

    Raises:
        InputError: ``inputs`` is not accepted by :func:`list_inputs`, or an item is not a text.
    """
    texts = []
    for row, item in enumerate(list_inputs(inputs)):
        if not isinstance(item, str):
            raise InputError(f"Row {row} holds {item!r}, which is not text.")
        texts.append(str(item))
    return texts
