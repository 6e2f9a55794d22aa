"""Estimates what embedding a data set takes: hours, machines, storage and money.

The model is simple. A run consists of independent shards of ``shard_rows`` rows. A machine starts in ``start_s`` seconds and
then embeds ``rate`` texts per second. The run ends when the machine with the most shards is done, and all machines are paid until
then.
``benchmarks/scale.py`` compares the estimate with measured runs.

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
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..catalog import ModelCard
from ..data.embedded_file import TooLong, build_space, plan_columns
from ..embedder import Embedder
from ..encoders.model_ids import ModelType, model_type
from ..errors import InputError
from ..tokens import Tokenizer, price
from ..vectors.arrow import VectorType
from ..vectors.matrices import base_model
from .shard_inputs import Shard
from .shards import RESULTS, SHARD_ROWS, ShardJob, ShardSchemas, ShardWorker

VECTOR_BYTES: Mapping[str, float] = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "binary": 0.125}
"""Bytes per dimension, by the type of a vector."""

_WARM_UP_ROWS = 32
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
class RateMeasurement:
    """What this machine did in a short run that reads, counts, embeds and writes."""

    #: Texts per second after the start.
    rate: float
    #: Duration in seconds of a run of one row in a new process.
    start_s: float
    #: Number of rows of the longest measured run.
    rows: int
    #: Size of the shards per row.
    bytes_per_row: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Estimate of a run."""

    model: str
    rows: int
    #: Tokens of all rows.
    tokens: int
    #: Texts per second of one machine.
    rate: float
    #: Seconds until a machine embeds its first text.
    start_s: float
    shards: int
    machines: int
    #: Duration of the run with all machines.
    hours: float
    #: Duration of the run with one machine.
    machine_hours: float
    #: Size of all vectors, by the type of the vectors.
    vector_bytes: Mapping[str, int]
    #: Price of the machines in US dollars; None if the price of a machine is unknown.
    usd: float | None
    #: Price of the hosted model in US dollars; None if there is none.
    hosted_usd: float | None


def check_numbers(
    card: ModelCard,
    rows: int,
    tokens: int,
    rate: float | None,
    hours: float | None,
    machine_price: float | None,
    shard_rows: int,
) -> None:
    """Raise InputError if an argument of :func:`make_plan` is invalid. A rate of None is still to be measured."""
    limits = {"rows": rows, "tokens": tokens, "rate": rate, "hours": hours, "shard-rows": shard_rows}
    for name, value in limits.items():
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InputError(f"--{name} is {value}; it must be a number above 0.", param=name)
    if machine_price is not None and not (machine_price >= 0 and math.isfinite(machine_price)):
        raise InputError(f"--machine-price is {machine_price}; give US dollars per hour.", param="machine-price")
    if tokens > card.max_tokens:
        raise InputError(
            f"{card.id} accepts texts of at most {card.max_tokens:,} tokens, not {tokens:,}. Split the texts, and plan with the "
            "length of the pieces.",
            param="tokens",
        )


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
        card: Card of the model.
        rows: Number of texts.
        tokens: Mean number of tokens per text, by the model's own tokenizer.
        rate: Texts per second of one machine; :func:`measure_rate` measures this machine.
        start_s: Seconds until a machine embeds its first text.
        hours: Maximum duration of the run; by default one machine embeds everything.
        machine_price: Price of one machine in US dollars per hour.
        shard_rows: Rows per shard, the smallest amount of work for a machine.

    Raises:
        InputError: A number is not positive, a text is longer than the model accepts, or no number of machines is sufficient.
    """
    check_numbers(card, rows, tokens, rate, hours, machine_price, shard_rows)
    shards = math.ceil(rows / shard_rows)
    machines = 1 if hours is None else _count_machines(rows, shards, shard_rows, rate, start_s, hours)
    max_machine_rows = min(rows, math.ceil(shards / machines) * shard_rows)
    run_hours = (start_s + max_machine_rows / rate) / 3600
    return Plan(
        model=card.id,
        rows=rows,
        tokens=rows * tokens,
        rate=rate,
        start_s=start_s,
        shards=shards,
        machines=machines,
        hours=run_hours,
        machine_hours=(start_s + rows / rate) / 3600,
        vector_bytes={dtype: math.ceil(rows * card.dimensions * size) for dtype, size in VECTOR_BYTES.items()},
        usd=None if machine_price is None else machines * run_hours * machine_price,
        hosted_usd=price(rows * tokens, card),
    )


def _count_machines(rows: int, shards: int, shard_rows: int, rate: float, start_s: float, hours: float) -> int:
    """Return the minimum number of machines that finish in time."""
    seconds = hours * 3600 - start_s
    if seconds >= rows / rate:
        return 1
    machine_shards = int(seconds * rate // shard_rows)
    if machine_shards < 1:
        shard_hours = (start_s + min(rows, shard_rows) / rate) / 3600
        raise InputError(
            f"One shard of {shard_rows:,} texts takes {shard_hours:.2g} hours on one machine, and more machines do not make it "
            "faster. Give more --hours, or a smaller --shard-rows here and in `umekomi embed`.",
            param="hours",
        )
    return math.ceil(shards / machine_shards)


def measure_rate(model: str, *, tokens: int, seconds: float = 5.0) -> RateMeasurement:
    """Measure how fast this machine embeds synthetic English texts, from file to file as ``umekomi embed IN -o OUT/`` does.

    Args:
        model: Name of the model.
        tokens: Mean number of tokens per text. Texts have between half and one and a half times as many.
        seconds: Approximate duration of the measurement, after a warm-up.

    Raises:
        InputError: The model is hosted elsewhere, so its rate does not depend on this machine.
    """
    if model_type(base_model(model)) is ModelType.REMOTE:
        raise InputError(
            f"{model} is hosted elsewhere, and measuring it may cost money. Give its texts per second with --rate."
        )
    embedder = Embedder(model)
    max_tokens = embedder.card.max_tokens
    texts = sample_texts(embedder.tokenizer, min(tokens, max_tokens), max_tokens)
    with tempfile.TemporaryDirectory(prefix="umekomi-plan-") as name:
        folder = Path(name)
        schema = pa.schema([("text", pa.string())])
        columns = plan_columns(
            schema, build_space(embedder), template=None, too_long=TooLong.FAIL, vectors=VectorType.FLOAT32
        )
        # Without a cache, because the texts of a real data set differ.
        job = ShardJob(f"{folder}/out", model, cache_bytes=0)
        worker = ShardWorker(job, embedder=embedder, schemas=ShardSchemas(schema, columns))
        (folder / "out" / RESULTS).mkdir(parents=True)
        _time_shard(worker, folder, texts, _WARM_UP_ROWS)
        start_s = _time_start(model, folder)
        n_rows, duration, size = _WARM_UP_ROWS, 0.0, 0
        deadline = time.monotonic() + seconds
        while not size or time.monotonic() + 2 * duration < deadline:
            n_rows *= 2
            duration, size = _time_shard(worker, folder, texts, n_rows)
    return RateMeasurement(n_rows / duration, start_s, n_rows, size / n_rows)


def _time_start(model: str, folder: Path) -> float:
    """Return the duration in seconds of a run of one row in a new process: loading, the first text, the end."""
    pq.write_table(pa.table({"text": ["water"]}), folder / "one.parquet")
    command = [sys.executable, "-m", "umekomi", "embed", f"{folder}/one.parquet", "-o", f"{folder}/one/", "-m", model]
    start = time.monotonic()
    subprocess.run([*command, "--quiet"], check=True, capture_output=True)  # noqa: S603 - this program itself
    return time.monotonic() - start


def _time_shard(worker: ShardWorker, folder: Path, texts: Iterator[str], n_rows: int) -> tuple[float, int]:
    """Embed a shard. Return the duration in seconds and the size of the shard in bytes."""
    source = folder / f"{n_rows}.parquet"
    pq.write_table(pa.table({"text": [next(texts) for _ in range(n_rows)]}), source)
    shard = Shard(str(source), "", 0, n_rows)
    start = time.monotonic()
    worker(shard)
    return time.monotonic() - start, (folder / "out" / f"{shard.name}.parquet").stat().st_size


def sample_texts(tokenizer: Tokenizer, tokens: int, max_tokens: int) -> Iterator[str]:
    """Yield synthetic English texts without end. Texts are distinct if they may be a few words long.

    Args:
        tokenizer: Tokenizer that measures the texts.
        tokens: Mean number of tokens. Texts have between half and one and a half times as many.
        max_tokens: Maximum number of tokens.
    """
    rng = random.Random(0)  # noqa: S311 - not for cryptography
    vocabulary = _SAMPLE.split()
    for number in count(1):
        length = min(max_tokens, max(1, round(tokens * rng.uniform(0.5, 1.5))))
        words = [*_spell_number(number, vocabulary), *rng.choices(vocabulary, k=length)]
        yield tokenizer.truncate(" ".join(words), length)


def _spell_number(number: int, digits: Sequence[str]) -> list[str]:
    """Return a number with words as its digits, which makes a text unique although its words are common."""
    words = []
    while number:
        number, digit = divmod(number, len(digits))
        words.append(digits[digit])
    return words
