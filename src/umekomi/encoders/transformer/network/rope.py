"""Rotary position embeddings (Su et al. 2021), and how ``config.json`` describes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...json_files import JsonObject


@dataclass(frozen=True, slots=True)
class Rope:
    """The rotation of the queries and keys of a layer by their positions."""

    theta: float
    #: The angles are divided by it (Chen et al. 2023).
    factor: float = 1.0
    #: Share of each pair's angle that is not divided; empty if all angles are divided.
    kept: tuple[float, ...] = ()
    #: Queries and keys are multiplied by it.
    attention_factor: float = 1.0

    def angles(self, size: int) -> tuple[float, ...]:
        """Return the angle between neighboring positions for each pair of the ``size`` numbers of a head."""
        kept = self.kept or (0.0,) * (size // 2)
        angles = (self.theta ** (-2 * index / size) for index in range(size // 2))
        return tuple(
            angle * share + angle * (1 - share) / self.factor for angle, share in zip(angles, kept, strict=True)
        )

    @classmethod
    def extended(cls, theta: float, factor: float, size: int) -> Rope:
        """Return GTE's NTK-aware scaling to windows that are ``factor`` times as long."""
        return cls(theta * factor, factor ** (2 / size))


@dataclass(frozen=True, slots=True)
class RopeKeys:
    """Where rotary embeddings are described, for layers with full and with sliding attention."""

    full: tuple[str, ...] = ("rope_theta",)
    sliding: tuple[str, ...] = ()
    default: float = 10_000.0
    sliding_default: float = 10_000.0
    #: Whether scaling of the type ``ntk`` is GTE's.
    extended: bool = False


def read_ropes(
    reader: JsonObject, keys: RopeKeys, reaches: Sequence[int | None], size: int, *, positions: int
) -> tuple[Rope, ...]:
    """Return the rotary embeddings of each layer. Newer files describe them in ``rope_parameters``.

    Args:
        reader: Content of ``config.json``.
        keys: The keys of the architecture.
        reaches: Maximum distance of attention in each layer; None for full attention.
        size: Numbers of a head.
        positions: Maximum number of tokens in a text.

    Raises:
        InputError: They are of a type that Umekomi does not support.
    """
    reader.require("partial_rotary_factor", (1,))
    if "rope_scaling" in reader and "rope_parameters" in reader:
        raise reader.error(["rope_scaling"], "Umekomi supports either rope_scaling or rope_parameters")
    scaling, parameters = reader.object("rope_scaling"), reader.object("rope_parameters")
    theta = reader.number(*keys.full, default=keys.default)
    if not keys.sliding:
        given = scaling if "rope_scaling" in reader else parameters
        more = ("ntk",) if keys.extended else ("llama3", "yarn")
        return (_read_rope(given, theta, size, positions, more),) * len(reaches)
    given = scaling if "rope_scaling" in reader else parameters.object("full_attention")
    full = _read_rope(given, theta, size, positions)
    # Scaling in the older key is for the layers with full attention.
    sliding_theta = reader.number(*keys.sliding, default=keys.sliding_default)
    sliding = _read_rope(parameters.object("sliding_attention"), sliding_theta, size, positions)
    parameters.close()
    return tuple(full if reach is None else sliding for reach in reaches)


def _read_rope(given: JsonObject, theta: float, size: int, positions: int, more: Sequence[str] = ()) -> Rope:
    """Return the rotary embeddings that an object describes. ``theta`` is used if the object has none."""
    theta = given.number("rope_theta", default=theta)
    given.require("partial_rotary_factor", (1,))
    method = given.text("rope_type", "type", default="default")
    types = ("default", "linear", *more)
    if method not in types:
        raise given.error(["rope_type", "type"], f"Umekomi supports {', '.join(types)}")
    factor = given.number("factor", default=1.0)
    if method == "default":
        rope = Rope(theta)
    elif method == "ntk":
        rope = Rope.extended(theta, factor, size)
    elif method == "linear":
        rope = Rope(theta, factor)
    else:
        length = given.required("original_max_position_embeddings", default=positions)
        rope = (_read_llama3 if method == "llama3" else _read_yarn)(given, theta, factor, size, length)
    given.close()
    return rope


def _read_llama3(given: JsonObject, theta: float, factor: float, size: int, length: int) -> Rope:
    """Return the scaling of Llama 3.1: angles are divided if fewer than ``low`` of their turns fit in the training length."""
    low, high = given.number("low_freq_factor", default=1.0), given.number("high_freq_factor", default=4.0)
    turns = [length * angle / (2 * math.pi) for angle in Rope(theta).angles(size)]
    width = max(high - low, 1e-9)
    return Rope(theta, factor, tuple(min(max((number - low) / width, 0.0), 1.0) for number in turns))


def _read_yarn(given: JsonObject, theta: float, factor: float, size: int, length: int) -> Rope:
    """Return YaRN's scaling (Peng et al. 2023): the faster angles are kept, the slower ones divided, with a ramp between."""
    fast, slow = given.number("beta_fast", default=32.0), given.number("beta_slow", default=1.0)
    given.require("truncate", [True])
    given.require("mscale", [])
    given.require("mscale_all_dim", [])
    low, high = (size * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta)) for turns in (fast, slow))
    start, end = max(math.floor(low), 0), min(math.ceil(high), size - 1)
    width = end - start or 0.001
    kept = tuple(1 - min(max((index - start) / width, 0.0), 1.0) for index in range(size // 2))
    attention_factor = given.number("attention_factor", default=0.1 * math.log(max(factor, 1.0)) + 1)
    return Rope(theta, factor, kept, attention_factor)
