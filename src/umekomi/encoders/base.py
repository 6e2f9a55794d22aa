"""The base class of encoders: one abstract method, and the checks around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from ..catalog import Role
from ..errors import InputError, UmekomiError
from ..progress import Progress, no_progress
from ..vectors.arithmetic import FloatArray


class Encoder(ABC):
    """Turns texts into vectors.

    A subclass sets ``name`` and ``dims`` and implements :meth:`_encode` and :meth:`identity`. The same text must always give the
    same bytes, whatever the other texts are.
    """

    #: Name for messages.
    name: str
    #: Dimensions of the vectors.
    dims: int
    #: SHA-256 of the files that the encoder was loaded from, unless they are assets of the catalog.
    file_hashes: tuple[str, ...] = ()
    #: Prompts by name that texts can be embedded with.
    prompts: Mapping[str, str] = {}
    #: Lengths that the vectors may be shortened to: empty for all lengths, None if the model is not trained for any.
    matryoshka_dims: tuple[int, ...] | None = None
    #: Name of the file with the weights, for models of folders.
    source: str = ""
    #: Architecture, as named by ``model_type`` in ``config.json``; ``static`` and ``lexical`` for encoders without a network.
    architecture: str = ""
    #: Whether all vectors have length 1, or are zeros, and need no other scaling in a model of this part alone.
    is_normalized: bool = False
    #: Maximum number of tokens that the encoder reads at once; longer texts are split. None if it has no maximum.
    window: int | None = None

    @property
    def n_weights(self) -> int:
        """Number of weights; 0 for encoders without weights."""
        return 0

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``fp16`` for encoders that can choose one, else empty."""
        return ""

    def warm_up(self) -> None:  # noqa: B027  # most encoders have nothing to load later
        """Load what is otherwise loaded when it is first needed. For processes that should answer quickly later."""

    def encode(self, texts: Sequence[str], *, role: str | None = None, progress: Progress | None = None) -> FloatArray:
        """Encode texts: ``(len(texts), dims) float32``.

        The length of a vector is its weight relative to the other parts of a model, usually 1.

        ``role`` is a :class:`~umekomi.Role` or the name of a prompt. Encoders without such a prompt ignore the name.

        Raises:
            InputError: ``texts`` is a single string, or contains something that is not a string.
            UmekomiError: The subclass returned a wrong shape or dtype, or values that are not finite.
        """
        if isinstance(texts, str):
            raise InputError("encode() takes a list of texts; put the one text in a list.", param="input")
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"Input {index} is {type(text).__name__}, not text.", param="input")
        if not texts:
            return np.empty((0, self.dims), dtype=np.float32)
        if role is not None:
            role = Role(role) if role in tuple(Role) else role if role in self.prompts else None
        vectors = self._encode(texts, role, progress or no_progress)
        if vectors.shape != (len(texts), self.dims) or vectors.dtype != np.float32:
            raise UmekomiError(
                f"The encoder {self.name} returned {vectors.dtype} {vectors.shape}, not float32 {(len(texts), self.dims)}."
            )
        if not np.isfinite(vectors).all():
            raise UmekomiError(
                f"The encoder {self.name} returned a value that is not a finite number; please report it."
            )
        return vectors

    @abstractmethod
    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        """Encode at least one text: ``(len(texts), dims) float32``. Call ``progress(k)`` after each ``k`` texts.

        ``role`` is a :class:`~umekomi.Role`, the name of one of :attr:`prompts`, or None.
        """

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """Return what the vectors depend on, as JSON data. It is part of the model's fingerprint."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, dims={self.dims})"
