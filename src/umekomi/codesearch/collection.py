"""The vectors of a code index, and how they are made to agree with its manifest, whatever happened to either."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ..data.embedded_file import Space
from ..errors import CollectionNotFoundError, StoreError
from ..stores import Store, create_store, open_store
from .manifest import FORMAT, Manifest


def store_url(folder: Path) -> str:
    """The collection of an index."""
    return f"lance://{str(folder).replace('?', '%3F')}/code"


def open_collection(folder: Path, manifest: Manifest, space: Space, *, say: Callable[[str], None]) -> Store:
    """Open the vectors of an index whose manifest names ``space``.

    Rows that only the collection has are deleted. Rows that only the manifest has are forgotten, so that their files are read
    again. A collection that is missing, damaged or of another space is made anew.

    Args:
        folder: Folder of the index.
        manifest: Manifest of the index. The caller holds the lock.
        space: Space of the vectors.
        say: Called with one line if vectors are missing.

    Raises:
        StoreError: The collection is damaged and cannot be deleted.
    """
    try:
        store = open_store(store_url(folder))
        if store.space != space:
            return rebuild(folder, manifest, space)
        if unfinished := manifest.pending():
            store.delete(unfinished)
            manifest.recover()
        expected = manifest.count()[1]
        # The condition makes the engine read a column of every data file, which counting alone does not.
        if store.count() == expected and (not expected or store.count("piece >= 0") == expected):
            return store
        present = [name for names, _, _ in store.iterate(size=4096) for name in names]
    except CollectionNotFoundError:
        if manifest.count()[1]:
            say("The vectors of the index are missing; every file is read again.")
        return rebuild(folder, manifest, space)
    except StoreError as error:
        say(f"The vectors of the index cannot be read; every file is read again. ({error})")
        return rebuild(folder, manifest, space)
    known = manifest.ids()
    if len(set(present)) < len(present):
        say("The vectors of the index are damaged; every file is read again.")
        return rebuild(folder, manifest, space)
    if missing := known - set(present):
        say(f"{len(missing):,} vectors of the index are missing; their files are read again.")
    store.delete(sorted(set(present) - known))
    manifest.forget_rows(sorted(missing))
    return store


def rebuild(folder: Path, manifest: Manifest, space: Space) -> Store:
    """Delete the collection, forget every file, and begin with an empty collection.

    A kill between two steps is harmless: :func:`open_collection` compares the collection with the manifest.
    """
    _drop(folder)
    manifest.reset({"format": FORMAT, "model": space.model, "fingerprint": space.fingerprint, "dims": str(space.dims)})
    return create_store(store_url(folder), space)


def _drop(folder: Path) -> None:
    try:
        open_store(store_url(folder)).drop()
    except CollectionNotFoundError:
        pass
    except StoreError:
        # A damaged collection cannot be opened. The folder was claimed for this index, so its content is Umekomi's.
        try:
            shutil.rmtree(folder / "code.lance")
        except OSError as error:
            raise StoreError(
                f"{folder} is damaged and cannot be deleted: {error.strerror}. Delete it yourself."
            ) from error
