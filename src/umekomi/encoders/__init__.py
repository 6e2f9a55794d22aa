"""Encoders: texts to vectors, ``(n, dims) float32``.

:data:`ENCODER_TYPES` has the built-in types; plugins add others through the entry point ``umekomi.encoders``.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, cast
from weakref import WeakValueDictionary

from .. import registry
from ..catalog import EncoderSpec, Part
from ..errors import InputError
from ..settings import Settings
from .base import Encoder

# Modules with a function `build`. Imported lazily, because most need a heavy library that the others do not.
ENCODER_TYPES = {
    "fake": "umekomi.encoders.fake",
    "lexical": "umekomi.encoders.lexical.encoder",
    "sentence-transformers": "umekomi.encoders.transformer.folder.sentence_transformers",
    "transformer": "umekomi.encoders.transformer.encoder",
}


class EncoderBuilder(Protocol):
    """A function that builds the encoder of one part of a model."""

    def __call__(self, spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder:
        """Build an encoder.

        Args:
            spec: Row of the catalog.
            part: Part of the model. Its options override those of ``spec``.
            files: Paths of the encoder's assets, by purpose.
            settings: Device, precision, threads and so on.
        """


_shared: WeakValueDictionary[tuple[object, ...], Encoder] = WeakValueDictionary()
_building: dict[tuple[object, ...], threading.Lock] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    """Replace the locks in a forked child: a thread that held one does not exist there."""
    global _lock
    _lock = threading.Lock()
    _building.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def share_encoder(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder:
    """Return the encoder of one part of a model, shared with the other models of this process that have the same part.

    An :class:`EncoderBuilder`. Threads may build different encoders at the same time.
    """
    description = json.dumps([asdict(spec), dict(part.options)], sort_keys=True)
    device = (settings.device, settings.precision, settings.threads, settings.streams, settings.batch_tokens)
    key = (description, *sorted(map(str, files.values())), *device)
    with _lock:
        lock = _building.setdefault(key, threading.Lock())
    with lock:
        encoder = _shared.get(key)
        if encoder is None:
            encoder = build_encoder(spec, part, files, settings)
            with _lock:
                _shared[key] = encoder
        return encoder


def build_encoder(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder:
    """Build the encoder of one part of a model; an :class:`EncoderBuilder`.

    Raises:
        InputError: The encoder's type is unknown.
        PluginError: The type is a plugin's, which cannot be imported.
        AssetError: A file is damaged.
    """
    plugin = registry.find_plugin(registry.ENCODERS, spec.type, builtin=ENCODER_TYPES)
    if spec.type in ENCODER_TYPES:
        build = cast(EncoderBuilder, importlib.import_module(ENCODER_TYPES[spec.type]).build)
    elif plugin is not None:
        build = plugin.load(expected="a function that builds encoders", is_valid=callable)
    else:
        names = [*ENCODER_TYPES, *registry.plugins_of(registry.ENCODERS)]
        raise InputError(
            f"The encoder {spec.name} has the unknown type {spec.type!r}; the types are {', '.join(names)}."
        )
    return build(spec, part, files, settings)


__all__ = ["ENCODER_TYPES", "Encoder", "EncoderBuilder", "build_encoder", "share_encoder"]
