"""The class :class:`Embedder`, which turns texts into vectors and knows the limits, roles and fingerprint of its model.

>>> embedder = Embedder("umekomi-fake")
>>> embedder.embed(["two beans", "one bean"]).shape
(2, 64)
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .assets.sources import Transfer
from .assets.store import AssetStore, Report
from .catalog import DEFAULT_MODEL, Catalog, Role, load_catalog
from .encoders import EncoderBuilder, share_encoder
from .encoders.base import Encoder
from .encoders.loading import Resources, load_model
from .encoders.model_ids import ModelType, make_absolute, model_type
from .encoders.rotation import interleaved_order
from .errors import InputError, SpaceMismatchError, TokenLimitError
from .inputs import Input, Inputs, list_inputs
from .progress import Progress
from .settings import Settings, current, with_secrets, without_secrets
from .tokens import TokenCount, Tokenizer, well_formed
from .vectors.arithmetic import FloatArray, compose, shorten
from .vectors.directions import SEPARATOR, Direction, load_direction, project_out, split_model
from .vectors.matrices import SEPARATOR as MATRIX_SEPARATOR
from .vectors.matrices import Matrix, as_learned, split_matrix

logger = logging.getLogger(__name__)
_PLURALS = {Role.QUERY: "queries", Role.DOCUMENT: "documents"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Validated inputs."""

    texts: tuple[str, ...] = field(repr=False)
    #: Token count of each text, in tokens of the model's own tokenizer.
    n_tokens: tuple[int, ...]


class Embedder:
    """A model, ready to embed texts. Creating it downloads missing files. It may be used from several threads.

    Args:
        model: Id of the model: an id of the catalog; the path of a folder with a model in the format of sentence-transformers, or
            the ``owner/name`` of one on the Hugging Face hub
            (see :mod:`umekomi.encoders.transformer.folder.sentence_transformers`); or ``remote:MODEL`` for a hosted model (see
            :mod:`umekomi.encoders.remote`). A suffix ``,without=gender`` projects a direction out of all vectors (see
            :mod:`umekomi.vectors.directions`). A suffix ``+my.safetensors`` applies a matrix that ``umekomi customize`` wrote.
        name: Id of the model for its users, instead of the path of a folder or a matrix.
        matrix: Matrix that customizes the vectors: a file, a :class:`~umekomi.vectors.matrices.Matrix`, or an array
            ``(dims, new dims)``.
        settings: File locations, device and so on. By default those of the environment.
        catalog: Known models: a catalog, or the paths of catalog files that extend Umekomi's own. By default the files of
            ``UMEKOMI_CATALOG``.
        report: Callback that receives one line of text for each file that is downloaded.
        transfer: Callback that receives the progress of a download.
        build_encoder: Builds the encoder of one part of a model. By default models share equal parts.

    Raises:
        ModelNotFoundError: No model has this id.
        AssetError: A required model file could not be found or downloaded.
        SpaceMismatchError: The matrix was learned for another model.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        name: str | None = None,
        matrix: Matrix | str | Path | npt.ArrayLike | None = None,
        settings: Settings | None = None,
        catalog: Catalog | str | Path | Iterable[str | Path] | None = None,
        report: Report | None = None,
        transfer: Transfer | None = None,
        build_encoder: EncoderBuilder = share_encoder,
    ) -> None:
        self._build_encoder = build_encoder
        self._settings = settings or current()
        if catalog is None:
            self._catalog = load_catalog(self._settings.catalog)
        else:
            self._catalog = catalog if isinstance(catalog, Catalog) else load_catalog(catalog)
        self._counterpart: Embedder | None = None
        model, path = split_matrix(model)
        if path and matrix is not None:
            raise InputError(f"Give either matrix or a model without {MATRIX_SEPARATOR}{path}.", param="matrix")
        # Read before the model is loaded, because its path may be wrong.
        learned = as_learned(path) if path else None if matrix is None else as_learned(matrix)
        model, without = split_model(model)
        direction_suffix = f"{SEPARATOR}{without}" if without else ""
        suffix = direction_suffix + ("" if learned is None else f"{MATRIX_SEPARATOR}{learned.name}")
        if model_type(model, self._catalog) is ModelType.FOLDER:
            name = name or f"{model}{suffix}"
            model = make_absolute(model, self._catalog)
        self._recipe = {
            "model": f"{model}{SEPARATOR}{without}" if without else model,
            "name": name,
            "matrix": learned,
            "catalog": None if catalog is None else self._catalog,
            "build_encoder": build_encoder,
        }
        direction = load_direction(without) if without else None
        assets = AssetStore(self._settings, report=report, transfer=transfer, catalog=self._catalog)
        loaded = load_model(model, Resources(self._catalog, self._settings, assets, build_encoder))
        dims = loaded.card.dimensions if learned is None else learned.dims_out
        self.card = replace(loaded.card, id=name or f"{loaded.card.id}{suffix}", dimensions=dims)
        self._own_dims = loaded.card.dimensions
        self._pair = f"{loaded.card.pair}{direction_suffix}" if loaded.card.pair else ""
        self._encoders = loaded.encoders
        self._alignment = loaded.alignment
        self._rotation = loaded.rotation
        self._tokenizer = loaded.tokenizer
        self._file_hashes = [
            *loaded.file_hashes,
            *(digest for encoder in self._encoders for digest in encoder.file_hashes),
        ]
        self.matrix: Matrix | None = None
        self._without: tuple[Direction, FloatArray] | None = None
        if direction is not None:
            self._without = (direction, direction.compute(self.embed))
        if learned is not None:
            learned.require_space(f"{loaded.card.id}{direction_suffix}", self._own_fingerprint, self._own_dims)
            self.matrix = learned

    def __repr__(self) -> str:
        return f"Embedder({self.model!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"

    def __copy__(self) -> Embedder:
        """Return the object itself, because it never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Embedder:
        """Return the object itself, because it never changes."""
        return self

    def __reduce__(self) -> tuple[Callable[..., Embedder], tuple[object, ...]]:
        """Pickle how the model is loaded, not its weights. Keys and passwords are left out.

        The process that unpickles loads the model again, with the keys of its own environment. It raises SpaceMismatchError if
        the model's files have changed, so that their vectors would not be comparable.
        """
        return _load_again, (self._recipe, without_secrets(self._settings), self.fingerprint)

    @property
    def model(self) -> str:
        """The id of the model, including ``,without=DIRECTION`` and ``+my.safetensors``."""
        return self.card.id

    @property
    def dims(self) -> int:
        """The dimensions of the vectors."""
        return self.card.dimensions

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """Prompts of the model by name. ``role`` may be one of the names."""
        return {name: prompt for encoder in self._encoders for name, prompt in encoder.prompts.items()}

    @property
    def can_shorten(self) -> bool:
        """Whether ``dimensions`` may be smaller than :attr:`dims`."""
        return self.card.can_shorten or self._settings.force_dimensions

    @property
    def precision(self) -> str:
        """The precision of the transformers: ``fp32``, ``bf16`` or ``fp16``; empty for models without transformers."""
        return next((encoder.precision for encoder in self._encoders if encoder.precision), "")

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that limits, usage and prices are counted with."""
        return self._tokenizer

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """The encoder of each part of ``card``."""
        return self._encoders

    @property
    def part_dims(self) -> tuple[int, ...]:
        """The dimensions of each part of ``card``, in the order in which they are concatenated."""
        return tuple(encoder.dims for encoder in self._encoders)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that identify the vector space: vectors with equal fingerprints are comparable."""
        return self._own_fingerprint if self.matrix is None else self.matrix.combined_fingerprint(self._own_fingerprint)

    @cached_property
    def _own_fingerprint(self) -> str:
        """The fingerprint of the vectors before the matrix."""
        description: dict[str, object] = {
            "space": self.card.space,
            "dims": self._own_dims,
            "parts": [encoder.identity() for encoder in self._encoders],
            "files": self._file_hashes,
            "weights": [part.weight for part in self.card.parts],
        }
        if self._alignment is not None:
            description["alignment"] = self._alignment.identity()
        if self.card.interleaved:
            description["interleaved"] = True
        if self._rotation is not None:
            description["rotation"] = self._rotation.identity()
        if self._without is not None:
            description["without"] = self._without[0].identity()
        return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]

    def prepare(self, inputs: Inputs, *, check: Callable[[int], None] | None = None) -> Prepared:
        """Validate inputs and count their tokens without embedding them. Token ids are decoded to text.

        Args:
            inputs: Texts, or lists of token ids in the model's own vocabulary.
            check: Called before each input, and between parts of a long one, with the number of tokens of the inputs before
                it. It may raise an exception to stop.

        Raises:
            InputError: An input is empty or has a wrong type, or a token id is not in the vocabulary.
            TokenLimitError: An input is longer than the model accepts.
        """
        texts: list[str] = []
        counts: list[int] = []
        items = list_inputs(inputs)
        # Without `check`, texts are counted together, for which some tokenizers use all cores.
        strings = [item for item in items if isinstance(item, str)] if check is None else []
        counted = iter(self._tokenizer.count_many_within(strings, self.card.max_tokens))
        total = 0
        for index, item in enumerate(items):
            if check is not None:
                check(total)
            if not isinstance(item, str):
                count = self._count_ids(index, item)
            elif check is None:
                count = next(counted)
            else:
                count = self._tokenizer.count_within(item, self.card.max_tokens, check=partial(check, total))
            self._check_count(index, count)
            texts.append(well_formed(item) if isinstance(item, str) else self._tokenizer.decode(item))
            counts.append(count.n_tokens)
            total += count.n_tokens
        return Prepared(tuple(texts), tuple(counts))

    def _check_texts(self, inputs: Inputs) -> Sequence[str]:
        """Validate inputs as :meth:`prepare` does, but only count the tokens of texts that may exceed the limit."""
        items = list_inputs(inputs)
        if not all(isinstance(item, str) and item for item in items):
            return self.prepare(items).texts
        limit, tokenizer = self.card.max_tokens, self._tokenizer
        if long := [index for index, text in enumerate(items) if tokenizer.may_exceed(text, limit)]:
            for index, count in zip(long, tokenizer.count_many_within([items[i] for i in long], limit), strict=True):
                self._check_count(index, count)
        return [well_formed(text) for text in items]

    def warm_up(self) -> None:
        """Load what is otherwise loaded when it is first needed, such as vocabularies."""
        self._tokenizer.warm_up()
        for encoder in self._encoders:
            encoder.warm_up()

    def _count_ids(self, index: int, item: Input) -> TokenCount:
        if isinstance(item, Sequence) and not isinstance(item, bytes) and all(type(token) is int for token in item):
            return TokenCount(len(item))
        raise InputError(f"Input {index} is neither text nor a list of token ids.", param="input")

    def _check_count(self, index: int, count: TokenCount) -> None:
        if count.n_tokens == 0:
            raise InputError(f"Input {index} is empty; every input needs at least one token.", param="input")
        if count.n_tokens > self.card.max_tokens:
            length = f"{count.n_tokens}" if count.is_exact else f"at least {count.n_tokens}"
            raise TokenLimitError(
                f"Input {index} has {length} tokens; {self.model} takes at most {self.card.max_tokens}. "
                "Shorten it, or split it and embed the pieces.",
                index=index,
                n_tokens=count.n_tokens,
                limit=self.card.max_tokens,
                is_exact=count.is_exact,
            )

    def embed(
        self,
        inputs: Inputs,
        *,
        role: Role | str | None = None,
        dimensions: int | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Embed texts: ``(len(inputs), dims) float32``. Every row has length 1.

        Args:
            inputs: Texts, or lists of token ids in the model's own vocabulary: a list, another sequence, a NumPy array, or a
                column of pandas, Polars or pyarrow.
            role: ``query`` or ``document``, for texts of a search, or the name of one of :attr:`prompts`. A model of a pair
                accepts only its own role.
            dimensions: Shortened length of the vectors, for models that were trained for it. With
                ``UMEKOMI_FORCE_DIMENSIONS=1`` other models shorten their vectors too, which costs more quality.
            progress: Callback that receives the number of texts finished since the last call.

        Raises:
            InputError: An input is empty or has a wrong type, ``inputs`` is a single string, a table, a mapping or a set, or the
                model does not support the role or the dimensions.
            TokenLimitError: An input is longer than the model accepts.
            UmekomiError: The model's weights are damaged.
        """
        return self.embed_texts(self._check_texts(inputs), role=role, dimensions=dimensions, progress=progress)

    async def aembed(
        self,
        inputs: Inputs,
        *,
        role: Role | str | None = None,
        dimensions: int | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Run :meth:`embed` in a thread of asyncio's default executor, so that the event loop stays responsive.

        ``progress`` is called in that thread. Cancelling the task does not stop the computation. Many small concurrent requests
        are faster through ``umekomi serve``, which batches them.
        """
        import asyncio

        return await asyncio.to_thread(self.embed, inputs, role=role, dimensions=dimensions, progress=progress)

    def embed_texts(
        self,
        texts: Sequence[str],
        *,
        role: Role | str | None = None,
        dimensions: int | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Embed texts that :meth:`prepare` has validated, without counting their tokens again; see :meth:`embed`."""
        if dimensions is not None:
            self.check_dimensions(dimensions)
        requested = self.check_role(role)
        if self.card.replaces_newlines:
            texts = [text.replace("\n", " ") for text in texts]
        part_progress = _PartProgress(progress, len(self._encoders)) if progress else None
        if self._alignment is None:
            parts = [encoder.encode(texts, role=requested, progress=part_progress) for encoder in self._encoders]
        else:
            parts = self._alignment.encode(self._encoders, texts, role=requested, progress=part_progress)
        if len(parts) == 1 and self._encoders[0].is_normalized:
            vectors = parts[0]
        else:
            vectors = compose(parts, [part.weight for part in self.card.parts])
        if self.card.interleaved:
            vectors = np.ascontiguousarray(vectors[:, interleaved_order(self.part_dims)])
        if self._rotation is not None:
            vectors = self._rotation.apply(vectors)
        if self._without is not None:
            vectors = project_out(vectors, self._without[1])
        if self.matrix is not None:
            vectors = self.matrix.apply(vectors)
        vectors = vectors if dimensions is None else shorten(vectors, dimensions)
        empty = np.flatnonzero(~vectors.any(axis=1))
        if len(empty):
            raise InputError(f"Input {empty[0]} contains nothing that {self.model} has a vector for.", param="input")
        return vectors

    def check_role(self, role: str | None) -> str | None:
        """Return the role that texts are embedded with: the model's own, if it is a model of a pair.

        Raises:
            InputError: The model has no such role or prompt, or is the other model of a pair.
        """
        own = self.card.role
        if role is None or (role in self.prompts and role not in tuple(Role)):
            return own or role
        if role not in tuple(Role):
            names = " or ".join(map(repr, dict.fromkeys([*map(str, Role), *self.prompts])))
            raise InputError(f"{self.model} has no role {role!r}; use {names}.", param="role")
        requested = Role(role)
        if own is not None and requested is not own:
            raise InputError(
                f"{self.model} embeds the {_PLURALS[own]} of a search; embed {_PLURALS[requested]} with its counterpart, "
                f"{self.card.pair}.",
                param="model",
            )
        return requested

    def for_role(self, role: Role) -> Embedder:
        """Return the model that embeds a role: its counterpart for a model of a pair, else the model itself."""
        if not self.card.pair or self.card.role is role:
            return self
        if self._counterpart is None:
            self._counterpart = Embedder(
                self._pair,
                matrix=self.matrix,
                settings=self._settings,
                catalog=self._catalog,
                build_encoder=self._build_encoder,
            )
        return self._counterpart

    def check_dimensions(self, dimensions: int) -> None:
        """Raise InputError unless this model can return vectors of this length."""
        if dimensions == self.dims:
            return
        if not self.can_shorten:
            raise InputError(
                f"{self.model} cannot shorten its vectors: they have {self.dims} dimensions. UMEKOMI_FORCE_DIMENSIONS=1 "
                "shortens them nevertheless.",
                param="dimensions",
            )
        if not 1 <= dimensions <= self.dims:
            raise InputError(f"dimensions is {dimensions}; it must be between 1 and {self.dims}.", param="dimensions")
        if self.card.can_shorten and (not self.card.shorter_dims or dimensions in self.card.shorter_dims):
            return
        if not self._settings.force_dimensions:
            lengths = ", ".join(map(str, self.card.shorter_dims))
            raise InputError(
                f"dimensions is {dimensions}; {self.model} was trained for {lengths}. UMEKOMI_FORCE_DIMENSIONS=1 allows "
                "other lengths.",
                param="dimensions",
            )
        _warn_of_forced_dimensions(self.model, dimensions)

    def require_space(self, fingerprint: str, *, where: str) -> None:
        """Raise SpaceMismatchError unless vectors with this fingerprint are comparable with this model's."""
        if fingerprint != self.fingerprint:
            raise SpaceMismatchError(
                f"{where} holds vectors of another space ({fingerprint}) than {self.model}'s ({self.fingerprint}). "
                "Search it with the model that produced it, or embed its texts again."
            )

    def require_counterpart(self, role: str, *, where: str) -> None:
        """Raise SpaceMismatchError if this is a model of a pair and vectors embedded in ``role`` are of the same role.

        A search compares queries with documents. An empty role is unknown and accepted, because old files do not store one.
        """
        own = self.card.role
        if not self.card.pair or own is None or role != own:
            return
        remedy = "Embed its texts again with" if own is Role.QUERY else "Search it with"
        raise SpaceMismatchError(
            f"{where} holds the {_PLURALS[own]} of a search, and {self.model} embeds {_PLURALS[own]} too. "
            f"{remedy} the counterpart, {self.card.pair}."
        )


@cache
def _warn_of_forced_dimensions(model: str, dimensions: int) -> None:
    """Log a warning, once for each model and length."""
    logger.warning("%s was not trained for vectors of %s dimensions, which may be much worse.", model, dimensions)


class _PartProgress:
    """Reports a text as finished when all parts of the model have encoded it."""

    def __init__(self, progress: Progress, n_parts: int) -> None:
        self._progress = progress
        self._n_parts = n_parts
        self._shares = 0

    def __call__(self, count: int) -> None:
        before = self._shares // self._n_parts
        self._shares += count
        if self._shares // self._n_parts > before:
            self._progress(self._shares // self._n_parts - before)


def _load_again(recipe: dict[str, Any], settings: Settings, fingerprint: str) -> Embedder:
    """Load a model from the data of a pickle."""
    embedder = Embedder(**recipe, settings=with_secrets(settings, os.environ))
    embedder.require_space(fingerprint, where="The pickle")
    return embedder
