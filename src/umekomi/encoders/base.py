"""What every encoder is: one abstract method; the checks around it are here, once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from ..catalog import Role
from ..errors import InputError, UmekomiError
from ..vectors.arithmetic import FloatArray

Progress = Callable[[int], None]
"""Called with the number of texts that have just been finished."""


class Encoder(ABC):
    """Turns texts into vectors.

    A subclass sets ``name`` and ``dims``, says in :meth:`identity` what its vectors depend on, and implements
    :meth:`_encode`. The same text must give the same bytes whatever its neighbours.
    """

    name: str
    dims: int

    @property
    def precision(self) -> str:
        """What it computes in, ``fp32``, ``bf16`` or ``fp16``, where there is a choice; else empty."""
        return ""

    def encode(self, texts: Sequence[str], *, role: Role | None = None, progress: Progress | None = None) -> FloatArray:
        """Vectors of texts: ``(len(texts), dims) float32``, none longer than 1.

        Raises:
            InputError: ``texts`` is one string, or holds something that is not a string.
            UmekomiError: the encoder broke its own promise of shape or of finite numbers.
        """
        if isinstance(texts, str):
            raise InputError("encode() takes a list of texts; put the one text in a list.", param="input")
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"Input {index} is {type(text).__name__}, not text.", param="input")
        if not texts:
            return np.empty((0, self.dims), dtype=np.float32)
        vectors = self._encode(texts, role, progress or _no_progress)
        if vectors.shape != (len(texts), self.dims) or vectors.dtype != np.float32:
            raise UmekomiError(
                f"The encoder {self.name} gave {vectors.dtype} {vectors.shape}, not float32 {(len(texts), self.dims)}."
            )
        if not np.isfinite(vectors).all():
            raise UmekomiError(f"The encoder {self.name} gave a value that is not a finite number; please report it.")
        return vectors

    @abstractmethod
    def _encode(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        """Vectors of at least one text: ``(len(texts), dims) float32``; ``progress(k)`` after each ``k`` texts."""

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """What the vectors depend on, as plain JSON: it enters the fingerprint of the space."""


def _no_progress(count: int) -> None:
    pass
