"""Tests that the digest of rows depends only on their schema and values."""

from itertools import pairwise
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from umekomi.pipeline.row_digest import RowDigest

TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "integer": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "small": (pa.uint8(), st.integers(0, 255)),
    "flag": (pa.bool_(), st.booleans()),
    "number": (pa.float64(), st.floats(allow_nan=False)),
    "text": (pa.string(), st.text(max_size=8)),
    "view": (pa.string_view(), st.text(max_size=20)),
    "bytes": (pa.large_binary(), st.binary(max_size=5)),
    "list": (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=3), max_size=3)),
    "views": (pa.list_(pa.string_view()), st.lists(st.text(max_size=3), max_size=3)),
    "pair": (pa.list_(pa.float32(), 2), st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2)),
    "struct": (
        pa.struct({"a": pa.int32(), "b": pa.string()}),
        st.fixed_dictionaries({"a": st.none() | st.integers(0, 9), "b": st.text(max_size=2)}),
    ),
    "map": (pa.map_(pa.string(), pa.int8()), st.lists(st.tuples(st.text(max_size=2), st.integers(0, 9)), max_size=2)),
    "date": (pa.date32(), st.dates()),
    "nothing": (pa.null(), st.none()),
}  # fmt: skip
ROWS = st.sampled_from(sorted(TYPES)).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(st.none() | TYPES[name][1], max_size=24))
)


def batch(name: str, values: list[Any]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(values, TYPES[name][0])], names=[name])


def digest(*batches: pa.RecordBatch) -> str:
    result = RowDigest()
    for record_batch in batches:
        result.update(record_batch)
    return result.hexdigest()


@settings(deadline=None, max_examples=80)
@given(ROWS, st.lists(st.integers(0, 24), max_size=4))
def test_the_digest_does_not_depend_on_how_rows_are_divided(rows: tuple[str, list[Any]], cuts: list[int]) -> None:
    name, values = rows
    expected = batch(name, values)
    # With rows before and after, the slice has an offset and its buffers are longer than the slice.
    padding = [value for value in values if value is not None][:3]
    inside = batch(name, [*padding, *values, *padding]).slice(len(padding), len(values))
    assert digest(inside) == digest(expected)
    ends = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    pieces = [inside.slice(start, end - start) for start, end in pairwise(ends)]
    assert digest(*pieces) == digest(expected)


@settings(deadline=None, max_examples=80)
@given(ROWS, st.data())
def test_different_values_have_different_digests(rows: tuple[str, list[Any]], data: st.DataObject) -> None:
    name, values = rows
    if not values:
        return
    row = data.draw(st.integers(0, len(values) - 1))
    other = data.draw(st.none() | TYPES[name][1])
    changed = [*values[:row], other, *values[row + 1 :]]
    same = batch(name, values).equals(batch(name, changed)) and str(values) == str(changed)
    assert (digest(batch(name, changed)) == digest(batch(name, values))) is same


def test_the_digest_depends_on_names_types_and_the_number_of_rows() -> None:
    numbers = pa.record_batch({"a": pa.array([1, 2])})
    others = [
        pa.record_batch({"b": pa.array([1, 2])}),
        pa.record_batch({"a": pa.array([1, 2], pa.int32())}),
        pa.record_batch({"a": pa.array([1, 2, None])}),
        pa.record_batch({"a": pa.array([], pa.int64())}),
        pa.record_batch({"a": pa.array(["1", "2"])}),
    ]
    assert len({digest(record_batch) for record_batch in [numbers, *others]}) == 6


def test_the_digest_ignores_values_below_nulls_and_dictionary_encodings() -> None:
    mask = pa.py_buffer(b"\x05")
    one, two = (
        pa.Array.from_buffers(pa.int64(), 3, [mask, pa.array([1, hidden, 3]).buffers()[1]]) for hidden in (2, 77)
    )
    assert digest(pa.record_batch({"a": one})) == digest(pa.record_batch({"a": two}))
    left = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["x", "y"]))
    right = pa.DictionaryArray.from_arrays(pa.array([1, 0]), pa.array(["y", "x"]))
    assert digest(pa.record_batch({"a": left})) == digest(pa.record_batch({"a": right}))
