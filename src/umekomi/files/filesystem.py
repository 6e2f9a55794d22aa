"""Access to local files and object stores through the same functions. Files are written completely or not at all."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from ..errors import InputError
from . import outputs
from .ownership import MARKER, claim_folder


def is_local(url: str) -> bool:
    """Return whether a path or URL is a local path or a ``file://`` URL."""
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    """Return the path of a local path or a ``file://`` URL."""
    return Path(unquote(urlsplit(url).path) if url.startswith("file://") else url)


def canonical_url(url: str) -> str:
    """Return the canonical form of a path or URL, so that different spellings compare equal.

    Local paths become absolute, and symbolic links in their folder are resolved. The last component is kept, because the target
    of a link may have a meaningless name. URLs lose only their trailing slashes.
    """
    if not is_local(url):
        return url.rstrip("/")
    path = Path(os.path.abspath(local_path(url)))
    return str(Path(os.path.realpath(path.parent)) / path.name)


def open_filesystem(url: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a path or URL (``s3://``, ``gs://``, or any scheme of fsspec), and the path in it.

    Raises:
        InputError: The scheme of the URL is unknown.
    """
    if is_local(url):
        return pafs.LocalFileSystem(), str(local_path(url).absolute())
    try:
        system, path = pafs.FileSystem.from_uri(url)
        return system, path
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    try:
        # fsspec is optional. It supports storage that Arrow does not.
        handler, path = importlib.import_module("fsspec.core").url_to_fs(url)
        return pafs.PyFileSystem(pafs.FSSpecHandler(handler)), path
    except (ImportError, ValueError) as error:
        raise InputError(f"{url} cannot be read or written: {error}.") from error


def claim_output_folder(system: pafs.FileSystem, folder: str, *, content: str) -> None:
    """Create and mark a folder as :func:`umekomi.files.ownership.claim_folder` does, on any file system.

    Raises:
        InputError: The folder has files that Umekomi did not create, or is marked for another content.
    """
    if isinstance(system, pafs.LocalFileSystem):
        with outputs.explain_write_errors(folder):
            claim_folder(Path(folder), content=content)
        return
    system.create_dir(folder, recursive=True)
    rows = system.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    # Read after the listing: another process may claim the folder at the same time.
    marker = read_json(system, f"{folder}/{MARKER}") or {}
    if marker.get("created_by") == "umekomi":
        if marker.get("content") != content:
            raise InputError(f"{folder} already contains {marker.get('content')}. Choose another folder.")
        return
    if rows:
        raise InputError(f"{folder} is not empty and was not created by Umekomi. Choose a new or an empty folder.")
    put_text(system, f"{folder}/{MARKER}", json.dumps({"created_by": "umekomi", "content": content}))


@contextmanager
def atomic_stream(system: pafs.FileSystem, path: str) -> Iterator[pa.NativeFile]:
    """Write a file that appears under its name only when it is complete."""
    if isinstance(system, pafs.LocalFileSystem):
        with outputs.atomic_write(path) as temporary, system.open_output_stream(str(temporary)) as stream:
            yield stream
        return
    # Closing the stream creates the object, even after an error.
    stream = system.open_output_stream(path)
    try:
        yield stream
    except BaseException:
        with suppress(OSError):
            stream.close()
        with suppress(OSError):
            system.delete_file(path)
        raise
    stream.close()


def put_text(system: pafs.FileSystem, path: str, text: str) -> None:
    """Write a small text file atomically."""
    with atomic_stream(system, path) as stream:
        stream.write(text.encode())


def read_json(system: pafs.FileSystem, path: str) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if there is no such file or it contains something else."""
    try:
        with system.open_input_file(path) as stream:
            value = json.loads(stream.read())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
