"""Describe a model as plain data: its card, its parts with their licenses, its files and its fingerprint.

>>> about = describe_model("umekomi-fake")
>>> about["dimensions"], about["parts"][0]["encoder"]
(64, 'fake')
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..assets.store import AssetStore
from ..catalog import NOT_OPENAI, Asset, Catalog, ModelCard, load_catalog
from ..embedder import Embedder
from ..encoders.model_ids import find_card
from ..settings import Settings, current
from ..vectors.matrices import load_matrix, split_matrix

NO_NAMESAKE = (
    "OpenAI has no model of this name; the weights and the vectors are of the encoders named above, and not OpenAI's."
)


def card_facts(card: ModelCard) -> dict[str, object]:
    """Return the fields of a model card. Prices are in US dollars per 1,000 tokens; ``created`` is a date."""
    return {
        "id": card.id,
        "description": card.description,
        "use": card.use or None,
        "dimensions": card.dimensions,
        "can_shorten": card.can_shorten,
        "max_tokens": card.max_tokens,
        "tokenizer": card.tokenizer,
        "replaces_newlines": card.replaces_newlines,
        "role": card.role,
        "pair": card.pair or None,
        "space": card.space,
        "hosted_price_per_1k": card.price_per_1k,
        "pages_per_dollar": card.pages_per_dollar,
        "hosted_beir": card.hosted_beir,
        "hosted_knowledge": card.hosted_knowledge or None,
        "created": datetime.fromtimestamp(card.created, UTC).date().isoformat() if card.created else None,
    }


def describe_model(
    model: str,
    *,
    settings: Settings | None = None,
    catalog: Catalog | None = None,
) -> dict[str, Any]:
    """Return the fields of a model's card and its ``parts``, ``files``, ``here``, ``fingerprint``, ``matrix`` and ``note``.

    Nothing is downloaded. ``here`` is whether all files exist. The fingerprint is None if a file is missing, because it depends
    on the files.

    Raises:
        ModelNotFoundError: No model has this id.
    """
    catalog, settings = catalog or load_catalog(), settings or current()
    card = find_card(model, catalog)
    store = AssetStore(settings)
    files = [_describe_file(asset, store) for asset in catalog.assets_of(card)]
    path = split_matrix(model)[1]
    matrix = load_matrix(path) if path else None
    here = all(file["here"] for file in files)
    return {
        **card_facts(card),
        "parts": describe_parts(card, catalog),
        "files": files,
        "here": here,
        "fingerprint": Embedder(model, settings=settings, catalog=catalog).fingerprint if here else None,
        "matrix": matrix and {"path": matrix.path, "learned_for": matrix.model, "digest": matrix.digest},
        "note": NOT_OPENAI if card.hosted else NO_NAMESAKE,
    }


def describe_parts(card: ModelCard, catalog: Catalog) -> list[dict[str, Any]]:
    """Return encoder, dimensions, weight, share of the total weight, options, license and description of each part of a model."""
    total = sum(part.weight for part in card.parts)
    parts = []
    for part in card.parts:
        spec = catalog.encoders[part.encoder]
        parts.append(
            {
                "encoder": part.encoder,
                "type": spec.type,
                "dimensions": catalog.dims_of(part),
                "weight": part.weight,
                "share": round(part.weight / total, 4),
                "options": _describe_options({**spec.options, **part.options}),
                "license": spec.license,
                "description": spec.description,
                "knowledge": spec.knowledge or None,
            }
        )
    return parts


def _describe_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return readable options: without ``dims``, which is listed separately, and with checksums in place of long tables."""
    return {
        key: value if len(str(value)) <= 80 else f"sha256 {hashlib.sha256(str(value).encode()).hexdigest()[:16]}"
        for key, value in options.items()
        if key != "dims"
    }


def _describe_file(asset: Asset, store: AssetStore) -> dict[str, Any]:
    path = store.find(asset)
    return {
        "file": asset.file,
        "origin": asset.origin,
        "sha256": asset.sha256,
        "bytes": asset.size,
        "license": asset.license,
        "here": path is not None,
        "path": str(path or ""),
    }
