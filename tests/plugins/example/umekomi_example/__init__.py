"""An encoder of letter frequencies, an append-only store in a Parquet file, and a command."""

from pathlib import Path

import click
import numpy as np

from umekomi import CollectionNotFoundError, EmbeddedTable, Embedder, read_table
from umekomi.encoders import Encoder
from umekomi.stores import EngineSpec, MemoryStore

ENGINE = EngineSpec("umekomi_example", embedded=True)


class LetterEncoder(Encoder):
    name, dims = "letters", 26

    def _encode(self, texts, role, progress):
        return np.array([[text.count(chr(97 + i)) / len(text) for i in range(26)] for text in texts], np.float32)

    def identity(self):
        return {"type": "letters"}


def build_encoder(spec, part, files, settings):
    return LetterEncoder()


class FileStore(MemoryStore):
    def _upsert(self, ids, vectors, records):
        super()._upsert(ids, vectors, records)
        for ids, vectors, records in self.iterate(size=self.count()):
            EmbeddedTable(vectors, records.append_column("id", [ids]), self.space).save(
                self.url.removeprefix("example://")
            )


def open_collection(address, space):
    if not Path(address.location).exists():
        if space is None:
            raise CollectionNotFoundError(f"There is no collection {address.url}.")
        return FileStore(address.url, space)
    table = read_table(address.location)
    store = FileStore(address.url, table.space)
    MemoryStore._upsert(store, table.column("id"), table.vectors, table.records.drop_columns(["id"]))
    return store


def list_collections(address):
    return [f"example://{path}" for path in Path(address.location).glob("*.parquet")]


@click.command()
@click.argument("text")
def command(text):
    """Print the letter frequencies of a text."""
    click.echo(Embedder("letters-and-words").embed([text])[0, :26])
