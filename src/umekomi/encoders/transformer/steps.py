"""The steps after a transformer's last layer: token states become one vector for each text.

A model has a list of steps, in the order of the modules of sentence-transformers. Steps before :class:`Pool` apply to each token,
later ones to the pooled vector. The backends implement them in ``openvino_steps.py`` and ``torch_steps.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ...errors import InputError
from ...vectors.arithmetic import FloatArray


class PoolMode(StrEnum):
    """A way to compute one vector from token states, named as in sentence-transformers."""

    #: The first token.
    CLS = "cls"
    #: The maximum of each dimension.
    MAX = "max"
    MEAN = "mean"
    #: The sum divided by the square root of the number of tokens.
    MEAN_SQRT_LEN = "mean_sqrt_len_tokens"
    #: The mean weighted by position: the first token has weight 1, the second one 2.
    WEIGHTED_MEAN = "weightedmean"
    LAST_TOKEN = "lasttoken"


@dataclass(frozen=True, slots=True)
class Pool:
    """``(batch, length, hidden) -> (batch, len(modes) * hidden)``: the modes' vectors one after another."""

    modes: tuple[PoolMode, ...]
    #: Whether the special tokens before the text and the tokens of the prompt are pooled too. If not, ``weightedmean`` still
    #: counts positions from the first token.
    include_prompt: bool = True

    def output_dims(self, dims: int) -> int:
        """Return the number of dimensions after this step."""
        return len(self.modes) * dims

    def describe(self) -> list[object]:
        """Return what distinguishes this step from others, for fingerprints."""
        return ["pool", *self.modes, *([] if self.include_prompt else ["without prompt"])]


@dataclass(frozen=True, slots=True)
class Dense:
    """``activation(x @ weight.T + bias)``, plus ``x`` or a projection of it if there is a residual connection."""

    #: ``(out, in) float32``.
    weight: FloatArray
    #: ``(out,) float32``.
    bias: FloatArray | None
    #: One of :data:`~umekomi.encoders.transformer.network.layers.ACTIVATIONS`.
    activation: str
    #: Whether the input is added to the output.
    use_residual: bool = False
    #: ``(out, in) float32``: projection of the residual connection, if the numbers of dimensions differ.
    residual: FloatArray | None = None

    def output_dims(self, dims: int) -> int:
        """Return the number of dimensions after this step. Raise InputError if the shapes do not match ``dims``."""
        n_out, n_in = map(int, self.weight.shape)
        _require_dims("A dense layer", n_in, dims)
        if self.bias is not None:
            _require_dims("The bias of a dense layer", len(self.bias), n_out)
        if self.use_residual and (n_in, n_out) != (n_out if self.residual is None else self.residual.shape[1], n_out):
            raise InputError("The residual connection of a dense layer does not match its dimensions.")
        return n_out

    def describe(self) -> list[object]:
        """Return what distinguishes this step from others, for fingerprints."""
        residual = [self.use_residual, _checksum(self.residual)] if self.use_residual else []
        return ["dense", self.activation, _checksum(self.weight), _checksum(self.bias), *residual]


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Layer normalization of the last axis."""

    #: ``(dims,) float32``.
    weight: FloatArray
    #: ``(dims,) float32``.
    bias: FloatArray
    eps: float = 1e-5

    def output_dims(self, dims: int) -> int:
        """Return the number of dimensions after this step. Raise InputError if the shapes do not match ``dims``."""
        _require_dims("A layer normalization", len(self.weight), dims)
        _require_dims("The bias of a layer normalization", len(self.bias), dims)
        return dims

    def describe(self) -> list[object]:
        """Return what distinguishes this step from others, for fingerprints."""
        return ["layer norm", self.eps, _checksum(self.weight), _checksum(self.bias)]


@dataclass(frozen=True, slots=True)
class Normalize:
    """Scale each vector to length 1."""

    def output_dims(self, dims: int) -> int:
        """Return the number of dimensions after this step."""
        return dims

    def describe(self) -> list[object]:
        """Return what distinguishes this step from others, for fingerprints."""
        return ["normalize"]


@dataclass(frozen=True, slots=True)
class Truncate:
    """Keep the first ``dims`` dimensions."""

    dims: int

    def output_dims(self, dims: int) -> int:
        """Return the number of dimensions after this step."""
        return min(self.dims, dims)

    def describe(self) -> list[object]:
        """Return what distinguishes this step from others, for fingerprints."""
        return ["truncate", self.dims]


_MAX_STATES = 1 << 26
"""Maximum number of numbers in the token states of a batch."""

Step = Pool | Dense | LayerNorm | Normalize | Truncate

MEAN: tuple[Step, ...] = (Pool((PoolMode.MEAN,)), Normalize())
"""The steps of most models: the mean of the tokens, scaled to length 1."""


def count_dims(steps: Sequence[Step], hidden: int) -> int:
    """Return the number of dimensions of a model's vectors.

    Args:
        steps: Steps of the model. The last one must be :class:`Normalize`, because all vectors of Umekomi have length 1.
        hidden: Number of dimensions of the token states.

    Raises:
        InputError: There is not exactly one :class:`Pool`, or a step does not match the dimensions before it.
    """
    n_pools = sum(isinstance(step, Pool) for step in steps)
    if n_pools != 1:
        raise InputError(f"A model must have one pooling; this one has {n_pools or 'none'}.")
    if not isinstance(steps[-1], Normalize):
        raise InputError("The last step of a model must be a normalization.")
    dims = hidden
    for step in steps:
        dims = step.output_dims(dims)
    return dims


def limit_tokens(steps: Sequence[Step], hidden: int) -> int:
    """Return the number of tokens, at least 1, for which the states before the pooling take up to 256 MiB in fp32.

    Only steps with many outputs, such as a logit for each word of a vocabulary, make it less than the backends' own maximum.

    >>> limit_tokens([Pool((PoolMode.MAX,))], 30_522)
    2198
    """
    widest = dims = hidden
    for step in steps:
        if isinstance(step, Pool):
            break
        dims = step.output_dims(dims)
        widest = max(widest, dims)
    return max(1, _MAX_STATES // widest)


def checksum(values: FloatArray) -> str:
    """Return a checksum of an array for fingerprints."""
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()[:16]


def _checksum(values: FloatArray | None) -> str | None:
    return None if values is None else checksum(values)


def _require_dims(name: str, actual: int, expected: int) -> None:
    if actual != expected:
        raise InputError(f"{name} has {actual} inputs, but the step before it has {expected} dimensions.")
