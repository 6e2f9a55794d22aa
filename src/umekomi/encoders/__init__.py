"""Encoders: text in, ``(n, dims) float32`` out. One file a kind; :data:`KINDS` is the table of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

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
    """What each kind's ``build`` takes: ``files`` are the paths of the encoder's assets, by purpose."""

    def __call__(self, spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder: ...


def build_encoder(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder:
    """The encoder of one part of a model. ``files`` are the paths of its assets, by purpose."""
    if spec.kind not in KINDS:
        raise InputError(f"The encoder {spec.name} is of kind {spec.kind!r}; the kinds are {', '.join(KINDS)}.")
    return cast(Builder, importlib.import_module(KINDS[spec.kind]).build)(spec, part, files, settings)


__all__ = ["KINDS", "Encoder", "build_encoder"]
