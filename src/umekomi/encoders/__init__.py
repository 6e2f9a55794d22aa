"""Encoders: text in, ``(n, dims) float32`` out. One file a kind; :data:`KINDS` is the table of them."""

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

from ..catalog import EncoderSpec, Part
from ..errors import InputError
from ..settings import Settings
from .base import Encoder

# Each kind's file has a function `build`. Named here, not imported: most need a heavy library that others do not.
KINDS = {
    "fake": "umekomi.encoders.fake",
    "lexical": "umekomi.encoders.lexical.encoder",
    "transformer": "umekomi.encoders.transformer.encoder",
}


class Builder(Protocol):
    """What each kind's ``build`` takes: ``files`` are the paths of the encoder's assets, by purpose."""

    def __call__(self, spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder: ...


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
    """As :func:`build_encoder`, but the models of one process that have the same part have one encoder between them.

    Different encoders may be built at once, from several threads.
    """
    described = json.dumps([asdict(spec), dict(part.options)], sort_keys=True)
    how = (settings.device, settings.precision, settings.threads, settings.streams, settings.batch_tokens)
    key = (described, *sorted(map(str, files.values())), *how)
    with _lock:
        mine = _building.setdefault(key, threading.Lock())
    with mine:
        found = _shared.get(key)
        if found is None:
            found = build_encoder(spec, part, files, settings)
            with _lock:
                _shared[key] = found
        return found


def build_encoder(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder:
    """The encoder of one part of a model. ``files`` are the paths of its assets, by purpose."""
    if spec.kind not in KINDS:
        raise InputError(f"The encoder {spec.name} is of kind {spec.kind!r}; the kinds are {', '.join(KINDS)}.")
    return cast(Builder, importlib.import_module(KINDS[spec.kind]).build)(spec, part, files, settings)


__all__ = ["KINDS", "Builder", "Encoder", "build_encoder", "share_encoder"]
