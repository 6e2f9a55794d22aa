"""Calls that type checkers must accept. Read by mypy and pyright, never run."""

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa

from umekomi import (
    Catalog,
    EmbeddedTable,
    Embedder,
    Hit,
    ModelCard,
    Role,
    Settings,
    Space,
    Store,
    Tokenizer,
    TokenLimitError,
    UmekomiError,
    create_store,
    embed_table,
    load_catalog,
    load_tokenizer,
    open_store,
    read_table,
    search,
)

embedder = Embedder("umekomi-fake", settings=Settings(cache=Path("cache")), catalog="my.toml")


def embed_everything(texts: Sequence[str], mixed: list[str | list[int]]) -> None:
    vectors: npt.NDArray[np.float32] = embedder.embed(["two beans"])
    embedder.embed(("two beans", "one bean"), role="query", dimensions=8)
    embedder.embed(texts, role=Role.DOCUMENT, progress=lambda count: print(count))
    embedder.embed(deque(["two beans"]))
    embedder.embed([[1, 2], [3]])
    embedder.embed(mixed)
    embedder.embed(text for text in texts)
    embedder.embed({"a": "two beans"}.values())
    embedder.embed(np.array(["two beans"]))
    embedder.embed(np.array(["two beans"], dtype=object))
    embedder.embed(pd.Series(["two beans"]))
    embedder.embed(pl.Series(["two beans"]))
    embedder.embed(pl.DataFrame({"text": ["two beans"]})["text"])
    embedder.embed(pa.array(["two beans"]))
    embedder.embed(pa.chunked_array([["two beans"]]))
    embedder.embed(pa.table({"text": ["two beans"]})["text"])
    print(vectors.shape, embedder.prepare(texts).n_tokens, embedder.tokenizer.count("beans"))


async def embed_later(texts: list[str]) -> npt.NDArray[np.float32]:
    first, _ = await asyncio.gather(embedder.aembed(texts), embedder.aembed(pl.Series(texts), role="query"))
    return first


def use_tables_and_stores(path: Path) -> list[list[Hit]]:
    table: EmbeddedTable = read_table(path)
    table = embed_table(pd.DataFrame({"text": ["two beans"]}), embedder, template="{text}", role="document")
    space: Space = table.space
    with create_store("memory://beans", space) as store:
        store.upsert(["a"], table.vectors, table.records)
        copied: Store = open_store("memory://beans")
        try:
            return search(copied, embedder, ["beans"], n=3, where="n > 1", diversity=0.3)
        except TokenLimitError as error:
            print(error.index, error.limit)
        except UmekomiError:
            raise
    return []


def use_catalogs() -> tuple[Catalog, ModelCard, Tokenizer]:
    catalog = load_catalog(["my.toml"])
    return catalog, catalog.model("umekomi-fake"), load_tokenizer("cl100k_base")
