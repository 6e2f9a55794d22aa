"""Encoders: text in, ``(n, dims) float32`` out. One file a kind; :data:`KINDS` is the table of them."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from ..assets import AssetStore
from ..catalog import EncoderSpec, Part
from ..errors import InputError
from ..settings import Settings
from .base import Encoder

# Each kind's file has a function `build`. Named here, not imported: most need a heavy library that others do not.
KINDS = {
    "fake": "umekomi.encoders.fake",
    "lexical": "umekomi.encoders.lexical",
    "transformer": "umekomi.encoders.transformer",
}


class Builder(Protocol):
    def __call__(self, spec: EncoderSpec, part: Part, assets: AssetStore, settings: Settings) -> Encoder: ...


def build_encoder(spec: EncoderSpec, part: Part, assets: AssetStore, settings: Settings) -> Encoder:
    """The encoder of one part of a model, its assets fetched where they are not here yet."""
    if spec.kind not in KINDS:
        raise InputError(f"The encoder {spec.name} is of kind {spec.kind!r}; the kinds are {', '.join(KINDS)}.")
    return cast(Builder, importlib.import_module(KINDS[spec.kind]).build)(spec, part, assets, settings)


__all__ = ["KINDS", "Encoder", "build_encoder"]
