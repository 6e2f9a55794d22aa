"""What embedding a data set will take, before it is begun: hours, machines, storage and money.

The model behind it is small. A run is cut into shards of ``shard_rows`` rows that do not depend on each other; a machine does
``rate`` texts a second and takes ``start_s`` until its first. So the machines finish after their start and as many shards as the
busiest of them does, and all are paid until then. ``benchmarks/scale.py`` holds it beside measured runs.

>>> from umekomi.catalog import load_catalog
>>> plan = make_plan(load_catalog().model("text-embedding-ada-002"), rows=10**9, tokens=120, rate=1000.0, hours=24.0)
>>> plan.machines, round(plan.hours, 1), plan.hosted_usd
(12, 23.1, 48000.0)
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..catalog import ModelCard
from ..data.embedded_file import TooLong, plan_columns
from ..embedder import Embedder
from ..encoders.model_ids import ModelType, model_type
from ..errors import InputError
from ..tokens import Tokenizer, price
from ..vectors.arrow import VectorType
from ..vectors.directions import split_model
from .shard_inputs import Shard
from .shards import SHARD_ROWS, Layout, ShardJob, ShardWorker, space_of

VECTOR_BYTES: Mapping[str, float] = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "binary": 0.125}
"""Bytes of one dimension, by the type that a vector is kept in."""

_FIRST_ROWS = 32
_SAMPLE = (
    "the of and to in a is that for it was on as with he be at by this had not are but from or have an they which one you "
    "were her all she there would their we him been has when who will more no if out so said what up its about into than "
    "them can only other new some could time these two may then do first any my now such like our over man me even most "
    "made after also did many before must through back years where much your way well down should because each just those "
    "people how too little state good very make world still own see men work long get here between both life being under "
    "never day same another know while last might us great old year off come since against go came right used take three "
    "water house number part place school system small church family letter market company night question history reason "
    "country teacher student weather kitchen computer engine science music paper window garden river mountain village price"
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What this machine did in a short run, end to end: read, count, embed, write.

    ``rate`` is in texts a second once it runs, ``start_s`` the seconds that a run of one row takes in a process of its own,
    ``bytes_per_row`` what the shards took on disk.
    """

    rate: float
    start_s: float
    rows: int
    bytes_per_row: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take. ``machine_hours`` is the work of one machine that does all; ``hours`` is from start to end with
    ``machines`` of them. Money is in US dollars; None where no price is known. ``vector_bytes`` is by the type of the vectors.
    """

    model: str
    rows: int
    tokens: int
    rate: float
    start_s: float
    shards: int
    machines: int
    hours: float
    machine_hours: float
    vector_bytes: Mapping[str, int]
    usd: float | None
    hosted_usd: float | None


def make_plan(
    card: ModelCard,
    *,
    rows: int,
    tokens: int,
    rate: float,
    start_s: float = 0.0,
    hours: float | None = None,
    machine_price: float | None = None,
    shard_rows: int = SHARD_ROWS,
) -> Plan:
    """Plan a run.

    Args:
        card: the model.
        rows: how many texts.
        tokens: of one text, in the mean, by the model's own tokenizer.
        rate: texts a second of one machine; :func:`measure_rate` measures this one's.
        start_s: seconds until a machine's first text.
        hours: when all must be done, from the start; by default one machine does all, however long it takes.
        machine_price: of one machine, in US dollars an hour.
        shard_rows: rows of one shard, the least that a machine can be given.

    Raises:
        InputError: a number is not positive, a text is longer than the model takes, or no number of machines is enough.
    """
    for name, value in (
        ("rows", rows),
        ("tokens", tokens),
        ("rate", rate),
        ("hours", hours),
        ("shard-rows", shard_rows),
    ):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InputError(f"--{name} is {value}; it must be a number above 0.", param=name)
    if machine_price is not None and not (machine_price >= 0 and math.isfinite(machine_price)):
        raise InputError(f"--machine-price is {machine_price}; give US dollars an hour.", param="machine-price")
    if tokens > card.max_tokens:
        raise InputError(
            f"{card.id} takes texts of at most {card.max_tokens:,} tokens, not {tokens:,}; plan for the pieces you will cut.",
            param="tokens",
        )
    shards = math.ceil(rows / shard_rows)
    machines = 1 if hours is None else _machines(rows, shards, shard_rows, rate, start_s, hours)
    busiest = min(rows, math.ceil(shards / machines) * shard_rows)
    took = (start_s + busiest / rate) / 3600
    return Plan(
        model=card.id,
        rows=rows,
        tokens=rows * tokens,
        rate=rate,
        start_s=start_s,
        shards=shards,
        machines=machines,
        hours=took,
        machine_hours=(start_s + rows / rate) / 3600,
        vector_bytes={kind: math.ceil(rows * card.dimensions * size) for kind, size in VECTOR_BYTES.items()},
        usd=None if machine_price is None else machines * took * machine_price,
        hosted_usd=price(rows * tokens, card),
    )


def _machines(rows: int, shards: int, shard_rows: int, rate: float, start_s: float, hours: float) -> int:
    """The fewest machines that are done in time."""
    left = hours * 3600 - start_s
    if left >= rows / rate:
        return 1
    each = int(left * rate // shard_rows)
    if each < 1:
        need = (start_s + min(rows, shard_rows) / rate) / 3600
        raise InputError(
            f"One shard of {shard_rows:,} texts takes {need:.2g} hours on one machine, and no number of machines is faster. Give "
            "more --hours, or a smaller --shard-rows here and in `umekomi embed`.",
            param="hours",
        )
    return math.ceil(shards / each)


def measure_rate(model: str, *, tokens: int, seconds: float = 5.0) -> Measured:
    """Embed made-up English texts with a model, as ``umekomi embed IN -o OUT/`` does, for about so many seconds.

    Texts have between half and one and a half times ``tokens`` tokens. The first few are not counted: they warm the model up.

    Raises:
        InputError: the model is a hosted one, whose rate and price are not this machine's to measure.
    """
    if model_type(split_model(model)[0]) is ModelType.REMOTE:
        raise InputError(
            f"{model} is hosted elsewhere, and measuring it may cost money; say its texts a second with --rate."
        )
    embedder = Embedder(model)
    texts = sample_texts(embedder.tokenizer, min(tokens, embedder.card.max_tokens), embedder.card.max_tokens)
    with tempfile.TemporaryDirectory(prefix="umekomi-plan-") as folder:
        # Nothing is remembered: a real data set has texts that are all different.
        schema = pa.schema([("text", pa.string())])
        columns = plan_columns(
            schema, space_of(embedder, None), template=None, too_long=TooLong.FAIL, vectors=VectorType.FLOAT32
        )
        job = ShardJob(f"{folder}/out", model, cache_bytes=0)
        worker = ShardWorker(job, embedder=embedder, layout=Layout(schema, columns))
        (Path(folder) / "out" / "_done").mkdir(parents=True)
        _run(worker, Path(folder), texts, _FIRST_ROWS)
        start_s = _start(model, Path(folder))
        rows, spent, size = _FIRST_ROWS, 0.0, 0
        until = time.monotonic() + seconds
        while not size or time.monotonic() + 2 * spent < until:
            rows *= 2
            spent, size = _run(worker, Path(folder), texts, rows)
    return Measured(rows / spent, start_s, rows, size / rows)


def _start(model: str, folder: Path) -> float:
    """Seconds of a whole run of one row, in a process of its own: loading, the first text, the end."""
    pq.write_table(pa.table({"text": ["water"]}), folder / "one.parquet")
    command = [sys.executable, "-m", "umekomi", "embed", f"{folder}/one.parquet", "-o", f"{folder}/one/", "-m", model]
    began = time.monotonic()
    subprocess.run([*command, "--quiet"], check=True, capture_output=True)  # noqa: S603 - this program itself
    return time.monotonic() - began


def _run(worker: ShardWorker, folder: Path, texts: Iterator[str], n_rows: int) -> tuple[float, int]:
    """Seconds that a shard of so many rows takes, and the bytes of its shard."""
    source = folder / f"{n_rows}.parquet"
    pq.write_table(pa.table({"text": [next(texts) for _ in range(n_rows)]}), source)
    shard = Shard(str(source), "", 0, n_rows)
    began = time.monotonic()
    worker(shard)
    return time.monotonic() - began, (folder / "out" / f"{shard.name}.parquet").stat().st_size


def sample_texts(tokenizer: Tokenizer, tokens: int, most: int) -> Iterator[str]:
    """Made-up English without end, of ``tokens`` tokens in the mean: between half and one and a half times as many, and ``most``
    at most. No two texts are alike if they may be some words long.
    """
    chance = random.Random(0)  # noqa: S311 - of words
    known = _SAMPLE.split()
    number = 0
    while True:
        number += 1
        length = min(most, max(1, round(tokens * chance.uniform(0.5, 1.5))))
        words = [*_numeral(number, known), *chance.choices(known, k=length)]
        yield tokenizer.truncate(" ".join(words), length)


def _numeral(number: int, digits: Sequence[str]) -> list[str]:
    """A number written with words for its digits, so that a text is like no other and yet of common words."""
    found = []
    while number:
        number, digit = divmod(number, len(digits))
        found.append(digits[digit])
    return found
