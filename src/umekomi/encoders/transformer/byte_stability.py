"""Choose a precision and a batch size in which a text has the same bytes in every batch, on this machine.

The kernels that OpenVINO chooses depend on the instruction set, the shape of the model and the shape of a batch. Some round
differently from others. On a Xeon with AMX, for example, products of small matrices in bf16 use AMX only from 17 tokens on, and
round differently without it. So the first time that a shape of model is loaded on a machine, one layer of it embeds the same
texts alone and in batches of several sizes. bf16 is used only if no byte differs, otherwise fp32, otherwise fp32 with
activations apart from the products before them, because AVX2 has another kernel for both at once, which rounds differently with
64 tokens or fewer. If even that differs, a batch is one text, so that a text has no neighbors. The result is stored in the cache
folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from ...files.json_cache import JsonCache
from ...machine import cpu_facts, machine_name
from ...settings import Settings
from ...vectors.arithmetic import FloatArray
from .checkpoint import Checkpoint
from .network.weights import Blocks

logger = logging.getLogger(__name__)

VERSION = 3
"""Increases whenever the check or the candidates change, so that older results are not used."""
FILE = "byte-stability.json"
LENGTHS = (4, 12, 20, 36)
"""Padded lengths of the texts, in tokens: below, at and above the sizes of the kernels' blocks."""
ROWS = (2, 9)
"""Numbers of texts in a batch."""
N_WORDS = 64
"""Rows of the vocabulary that the check uses."""
_cached: dict[str, bool] = {}
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "OV_CPU_MAX_ISA")

Infer = Callable[[npt.NDArray[np.int32], npt.NDArray[np.int32]], FloatArray]
"""Takes ids ``(batch, length)`` and lengths ``(batch,)``; returns vectors ``(batch, dims) float32``."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How to run a model."""

    precision: str
    #: Maximum number of texts in a batch; None means no maximum.
    max_rows: int | None = None
    #: Whether activations are computed apart from the products before them.
    separate_activations: bool = False


def is_byte_stable(infer: Infer, *, positions: int) -> bool:
    """Return whether texts have the same vectors alone and in batches, bit by bit.

    Args:
        infer: Runs one batch.
        positions: Maximum number of tokens that the model takes; 0 if unknown.
    """
    random = np.random.default_rng(7)
    return not any(_differ(infer, length, random) for length in LENGTHS if length <= (positions or length))


def _differ(infer: Infer, length: int, random: np.random.Generator) -> bool:
    """Return whether the vectors of two texts differ between single texts and batches."""
    ids = random.integers(0, N_WORDS, (max(ROWS), length), dtype=np.int32)
    lengths = random.integers(max(1, length - 3), length + 1, max(ROWS), dtype=np.int32)
    alone = np.concatenate([infer(ids[row : row + 1], lengths[row : row + 1]) for row in range(2)])
    for rows in ROWS:
        # The two texts are first and last in the batch: the last rows of a matrix may be computed by another kernel.
        order = [0, *range(2, rows), 1]
        vectors = infer(ids[order], lengths[order])
        if vectors[[0, -1]].tobytes() != alone.tobytes():
            return True
    return False


def build_probe(checkpoint: Checkpoint) -> Checkpoint:
    """Return the different layers of a model with a small vocabulary, which run the same kernels in a fraction of the time."""
    from .network.assembly import shrink  # imported lazily, because a prepared graph is not checked

    probe = shrink(checkpoint.read(), N_WORDS)
    return replace(checkpoint, config=probe.config, read=lambda: probe)


def choose_mode(
    checkpoint: Checkpoint,
    settings: Settings,
    candidates: Sequence[Mode],
    check: Callable[[Mode], bool],
    *,
    key: Sequence[object] = (),
) -> Mode:
    """Return the first mode in which vectors do not depend on the batch, or the last precision with batches of one text.

    Args:
        checkpoint: The model. Results are stored by its shape, not by its weights.
        settings: Cache folder, threads, streams and tokens in a batch.
        candidates: Modes, fastest first.
        check: Function that runs the check in a mode.
        key: What else the kernels depend on, such as the version of the library.
    """
    config = checkpoint.config
    reliable = is_reliable_on_amx(config.hidden)
    return choose_by_check(
        settings, candidates, check, facts=_describe_shape(checkpoint), key=key, is_bf16_reliable=reliable
    )


def choose_by_check(
    settings: Settings,
    candidates: Sequence[Mode],
    check: Callable[[Mode], bool],
    *,
    facts: object,
    key: Sequence[object] = (),
    is_bf16_reliable: bool,
) -> Mode:
    """Return the mode of :func:`choose_mode` for any graph.

    Args:
        settings: Cache folder, threads, streams and tokens in a batch.
        candidates: Modes, fastest first.
        check: Function that runs the check in a mode.
        facts: What identifies the graph, as JSON data.
        key: What else the kernels depend on.
        is_bf16_reliable: Result of :func:`is_reliable_on_amx`.
    """
    results = JsonCache(settings.cache / FILE, is_valid=lambda value: isinstance(value, bool))
    for position, mode in enumerate(candidates):
        name = _digest([VERSION, asdict(mode), key, _describe_machine(), facts, _describe_settings(settings)])
        if name not in _cached:
            _cached.update(results.read())
        stable = _cached.get(name)
        if stable is None:
            stable = (mode.precision != "bf16" or is_bf16_reliable) and check(mode)
            _cached[name] = stable
            results.add(name, stable)
            if not stable:
                _warn(mode, candidates[position + 1 :])
        if stable:
            return mode
    return Mode(candidates[-1].precision, max_rows=1)


def _digest(facts: list[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _warn(mode: Mode, others: Sequence[Mode]) -> None:
    """Log that another precision or batches of one text are used. Other modes are as fast, so they are not worth a warning."""
    if others and others[0].precision == mode.precision:
        return
    logger.warning(
        "On this CPU, vectors of this model in %s can depend on the other texts in a batch. Umekomi uses %s instead.",
        mode.precision,
        others[0].precision if others else "batches of one text",
    )


def is_reliable_on_amx(hidden: int) -> bool:
    """Return whether products of a model's hidden size run on the same kernel of AMX for every number of tokens in bf16.

    Up to 16 tokens, oneDNN multiplies with AVX-512 instead if a weight has at most 32 inputs and outputs, and for one token also
    if the number of inputs is not a multiple of 32 (`benchmarks/same_bytes.py --products`). Few texts differ, so the check could
    miss them.
    """
    return not has_amx() or (hidden > 32 and hidden % 32 == 0)


@cache
def has_amx() -> bool:
    """Return whether the CPU multiplies bf16 matrices with AMX and no limit of the instruction set forbids it."""
    limit = next((os.environ[name] for name in LIMITS[:2] if os.environ.get(name)), "").upper()
    if limit and limit != "ALL" and "AMX" not in limit:
        return False
    return "amx_bf16" in cpu_facts().get("flags", "").split()


@cache
def _describe_machine() -> tuple[str, ...]:
    return (machine_name(), *(os.environ.get(name, "") for name in LIMITS))


def _describe_shape(checkpoint: Checkpoint) -> object:
    """Return the configuration, and the structure with the shape of each tensor instead of its numbers, as JSON data."""
    return _describe(build_probe(checkpoint).read())


def _describe(part: object) -> object:
    if isinstance(part, Blocks | np.ndarray):
        return [type(part).__name__, *part.shape]
    if is_dataclass(part):
        return [_describe(getattr(part, entry.name)) for entry in fields(part)]
    return [_describe(item) for item in part] if isinstance(part, tuple) else part


def _describe_settings(settings: Settings) -> list[object]:
    return [settings.threads, settings.streams, settings.batch_tokens]
