"""Digests of the values of Arrow rows, which show whether rows have changed since an earlier run."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np
import pyarrow as pa

from ..data.types import is_text


class RowDigest:
    """Digest of a stream of record batches.

    It depends only on the schema and the values, not on how the rows are divided into batches, the offsets of slices, the bytes
    below nulls, or the encoding of dictionaries.

    >>> rows = pa.record_batch({"n": [1, 2, 3]})
    >>> joined, divided = RowDigest(), RowDigest()
    >>> joined.update(rows)
    >>> divided.update(rows.slice(0, 1))
    >>> divided.update(rows.slice(1))
    >>> joined.hexdigest() == divided.hexdigest()
    True
    """

    def __init__(self) -> None:
        # One stream for each buffer of each column, so that concatenated batches give concatenated streams. SHA-256 is faster
        # than BLAKE2 on most processors, which have instructions for it.
        self._streams: defaultdict[str, hashlib._Hash] = defaultdict(hashlib.sha256)
        self._lengths: defaultdict[str, int] = defaultdict(int)

    def update(self, batch: pa.RecordBatch) -> None:
        """Add rows; all batches must have the same schema."""
        for number, (field, column) in enumerate(zip(batch.schema, batch.columns, strict=True)):
            self._add(f"{number}/{field.name}/{field.type}", column)

    def hexdigest(self) -> str:
        """Return the digest of all rows so far, as 32 hexadecimal digits."""
        digest = hashlib.sha256()
        for path, length in sorted(self._lengths.items()):
            digest.update(f"\0{path}\0{length}".encode())
        for path in sorted(self._streams):
            digest.update(f"\0{path}\0".encode())
            digest.update(self._streams[path].digest())
        return digest.hexdigest()[:32]

    def _add(self, path: str, column: pa.Array) -> None:
        dtype = column.type
        if isinstance(column, pa.ExtensionArray):
            column, dtype = column.storage, column.storage.type
        if pa.types.is_dictionary(dtype):
            column = column.dictionary_decode()
            dtype = column.type
        if pa.types.is_string_view(dtype) or pa.types.is_binary_view(dtype):
            column = column.cast(pa.large_string() if pa.types.is_string_view(dtype) else pa.large_binary())
            dtype = column.type
        if column.null_count:
            nulls = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)) + self._lengths[path]
            self._streams[f"{path}:nulls"].update(nulls.astype("<i8").tobytes())
        self._lengths[path] += len(column)
        if pa.types.is_nested(dtype) and "_view" in str(dtype):  # Arrow cannot take rows of these
            self._add_values(path, column)
            return
        if column.null_count:
            column = column.drop_null()
        if pa.types.is_null(dtype):
            return
        if pa.types.is_boolean(dtype):
            self._streams[path].update(column.cast(pa.uint8()).to_numpy(zero_copy_only=False))
        elif is_text(dtype):
            self._add_text(path, column)
        elif pa.types.is_struct(dtype):
            for number, child in enumerate(column.flatten()):
                self._add(f"{path}.{number}", child)
        elif pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype):
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            self._streams[f"{path}:lengths"].update(lengths.astype("<i8").tobytes())
            self._add(f"{path}[]", column.flatten())
        elif pa.types.is_primitive(dtype) or pa.types.is_decimal(dtype) or pa.types.is_fixed_size_binary(dtype):
            width = dtype.bit_width // 8
            values = column.buffers()[1]
            if values is not None:
                start = column.offset * width
                self._streams[path].update(memoryview(values)[start : start + len(column) * width])
        else:  # maps, unions and types that Arrow adds later: slow but exact
            self._add_values(path, column)

    def _add_values(self, path: str, column: pa.Array) -> None:
        for value in column.to_pylist():
            self._streams[path].update(f"{value!r}\0".encode("utf-8", "surrogatepass"))

    def _add_text(self, path: str, column: pa.Array) -> None:
        large = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
        offsets_buffer, data = column.buffers()[1:3]
        if offsets_buffer is None or not len(column):
            return
        dtype = np.int64 if large else np.int32
        offsets = np.frombuffer(offsets_buffer, dtype)[column.offset : column.offset + len(column) + 1]
        self._streams[f"{path}:lengths"].update(np.diff(offsets).astype("<i8").tobytes())
        if data is not None:
            self._streams[path].update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])
