"""What can be embedded: everything that holds texts in an order, and nothing else."""

import asyncio
import threading
from collections import OrderedDict, deque
from types import MappingProxyType

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from umekomi import Embedder, InputError

TEXTS = ["two beans", "one bean", "tea"]


@pytest.mark.parametrize(
    "inputs",
    [
        TEXTS,
        tuple(TEXTS),
        deque(TEXTS),
        iter(TEXTS),
        dict.fromkeys(TEXTS).keys(),
        dict(enumerate(TEXTS)).values(),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        list(np.array(TEXTS)),
        pd.Series(TEXTS, index=[7, 8, 9]),
        pd.Series(TEXTS, dtype="category"),
        pd.Index(TEXTS),
        pl.Series(TEXTS),
        pa.array(TEXTS),
        pa.array(TEXTS).dictionary_encode(),
        pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
    ],
    ids=lambda inputs: type(inputs).__module__ + "." + type(inputs).__name__,
)
def test_every_ordered_collection_of_texts_can_be_embedded(fake: Embedder, inputs: object) -> None:
    assert (fake.embed(inputs) == fake.embed(TEXTS)).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("inputs", [np.array([[104, 105], [106, 107]]), pl.Series([[104, 105], [106, 107]])])
def test_token_ids_may_come_in_columns_too(fake: Embedder, inputs: object) -> None:
    assert (fake.embed(inputs) == fake.embed(["hi", "jk"])).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("tea", "put the one text in a list"),
        (b"tea", "put the one text in a list"),
        (np.array("tea"), "Give a column or a list of texts"),
        (None, "Give a column or a list of texts"),
        (7, "Give a column or a list of texts"),
        ({"text": "tea"}, "Give a list of texts, not a dict"),
        (OrderedDict(text="tea"), "Give a list of texts, not a OrderedDict"),
        (MappingProxyType({"text": "tea"}), "Give a list of texts, not a mappingproxy"),
        ({"tea"}, "Give a list of texts, not a set"),
        (frozenset(["tea"]), "Give a list of texts, not a frozenset"),
        (pd.DataFrame({"text": ["tea"]}), "Give one column of texts, not a table"),
        (pl.DataFrame({"text": ["tea"]}), "Give one column of texts, not a table"),
        (pl.LazyFrame({"text": ["tea"]}), "Give one column of texts, not a table"),
        (pa.table({"text": ["tea"]}), "Give one column of texts, not a table"),
        (pa.record_batch({"text": ["tea"]}), "Give one column of texts, not a table"),
        (np.array([["tea"]]), "Input 0 is neither text nor a list of token ids"),
        (pd.Series(["tea", None]), "Input 1 is neither text nor a list of token ids"),
        (pa.array(["tea", None]), "Input 1 is neither text nor a list of token ids"),
        (pl.Series([1, 2]), "Input 0 is neither text nor a list of token ids"),
    ],
    ids=lambda value: type(value).__module__ + "." + type(value).__name__,
)
def test_everything_else_is_rejected_in_one_sentence(fake: Embedder, inputs: object, message: str) -> None:
    for method in (fake.embed, fake.prepare):
        with pytest.raises(InputError, match=message):
            method(inputs)  # type: ignore[operator]


def test_progress_counts_every_text_once(fake: Embedder) -> None:
    counts: list[int] = []
    fake.embed(pl.Series(TEXTS), progress=counts.append)
    assert sum(counts) == len(TEXTS)


def test_aembed_leaves_the_event_loop_free(fake: Embedder) -> None:
    threads: set[int] = set()

    async def main() -> list[float]:
        first, second = await asyncio.gather(
            fake.aembed(TEXTS, role="query", dimensions=8, progress=lambda count: threads.add(threading.get_ident())),
            fake.aembed(pd.Series(TEXTS), role="query", dimensions=8),
        )
        assert (first == second).all()
        with pytest.raises(InputError, match="put the one text in a list"):
            await fake.aembed("tea")  # type: ignore[arg-type]
        result: list[float] = first.tolist()
        return result

    assert asyncio.run(main()) == fake.embed(TEXTS, role="query", dimensions=8).tolist()
    assert threading.get_ident() not in threads
