"""Files here and elsewhere, by one name: a local path, or a URL of an object store. Written whole or not at all."""

from __future__ import annotations

import fnmatch
import glob
import importlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from .errors import InputError, RecordError


def open_place(url: str) -> tuple[pafs.FileSystem, str]:
    """The file system and the path in it of a local path or of a URL (``s3://``, ``gs://``, and whatever fsspec knows).

    Raises:
        InputError: the URL is of no kind that is known.
    """
    if "://" not in url:
        return pafs.LocalFileSystem(), str(Path(url).absolute())
    try:
        system, path = pafs.FileSystem.from_uri(url)
        return system, path
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    try:
        # An optional part, for kinds of storage that Arrow does not know itself.
        found, path = importlib.import_module("fsspec.core").url_to_fs(url)
        return pafs.PyFileSystem(pafs.FSSpecHandler(found)), path
    except (ImportError, ValueError) as error:
        raise InputError(f"{url} is not a place that can be read or written: {error}.") from error


def find_inputs(sources: Sequence[str]) -> list[str]:
    """The files that paths, folders, patterns and URLs name, in order of their names; hidden ones are left out.

    Raises:
        RecordError: one of them names no file.
    """
    found: dict[str, None] = {}
    for source in sources:
        names = _expand(source)
        if not names:
            raise RecordError(
                f"There is no Parquet file at {source}. Name files, a folder of them, or a pattern like 'in/*.parquet'."
            )
        found.update(dict.fromkeys(names))
    return sorted(found)


def _expand(source: str) -> list[str]:
    if "://" not in source:
        names = glob.glob(source, recursive=True) if any(mark in source for mark in "*?[") else [source]
        return [name for start in names for name in _local_files(Path(start))]
    base = source.split("*")[0].rpartition("/")[0] if "*" in source else source
    system, path = open_place(base)
    info = system.get_file_info(path)
    if info.type is pafs.FileType.File:
        return [source]
    prefix = source[: source.index("://") + 3]
    rows = system.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    pattern = open_place(source)[1] if "*" in source else f"{path}/*"
    return [
        prefix + row.path
        for row in rows
        if row.is_file and _is_parquet(row.path) and fnmatch.fnmatch(row.path, pattern)
    ]


def _local_files(start: Path) -> list[str]:
    if start.is_file():
        return [str(start)]
    return [str(path) for path in start.rglob("*") if path.is_file() and _is_parquet(str(path.relative_to(start)))]


def _is_parquet(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return path.endswith((".parquet", ".pq")) and not any(part.startswith(("_", ".")) for part in parts[-2:])


@contextmanager
def whole_file(system: pafs.FileSystem, path: str) -> Iterator[pa.NativeFile]:
    """A file that appears under its name only when all of it is written."""
    if not isinstance(system, pafs.LocalFileSystem):
        # An object store shows an object only when its last piece has come.
        with system.open_output_stream(path) as stream:
            yield stream
        return
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        with system.open_output_stream(str(temporary)) as stream:
            yield stream
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(system: pafs.FileSystem, path: str, text: str) -> None:
    """A small text file, whole or not at all."""
    with whole_file(system, path) as stream:
        stream.write(text.encode())


def read_json(system: pafs.FileSystem, path: str) -> dict[str, Any] | None:
    try:
        with system.open_input_file(path) as stream:
            found: dict[str, Any] = json.loads(stream.read())
            return found
    except (FileNotFoundError, ValueError):
        return None
