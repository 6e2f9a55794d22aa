"""Measured rates in the folder of prepared files, so that a second plan for the same model takes no measurement."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__
from ..assets.prepared import PreparedFiles
from ..encoders.model_ids import ModelType, model_type, split_file
from ..machine import machine_name
from ..settings import Settings, current
from ..vectors.matrices import base_model
from .estimate import RateMeasurement

_FILE = "rate.json"


class RateCache:
    """The measured rate of one model for texts of one length on this machine.

    Args:
        model: Name of the model.
        tokens: Mean number of tokens per text.
        seconds: Duration of the measurement.
        settings: Cache folder, device, threads and so on. By default those of the environment.
    """

    def __init__(self, model: str, *, tokens: int, seconds: float, settings: Settings | None = None) -> None:
        settings = settings or current()
        self._files = PreparedFiles(settings)
        computing = [settings.device, settings.precision, settings.threads, settings.streams, settings.batch_tokens]
        versions = [__version__, *map(_version, ("openvino", "torch"))]
        self._key = ["rate", versions, machine_name(), computing, model, _last_change(model), tokens, seconds]

    def find(self) -> RateMeasurement | None:
        """Return the rate of an earlier measurement, or None."""
        folder = self._files.find(self._key)
        if folder is not None:
            with suppress(OSError, ValueError, TypeError):
                return RateMeasurement(**json.loads((folder / _FILE).read_text("utf-8")))
            self._files.discard(self._key)
        return None

    def store(self, rate: RateMeasurement) -> None:
        """Keep a rate for later plans. It replaces an earlier one."""

        def write(folder: Path) -> None:
            (folder / _FILE).write_text(json.dumps(asdict(rate)), "utf-8")

        self._files.discard(self._key)
        self._files.store(self._key, write)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _last_change(model: str) -> int:
    """Return when a file of a model in a folder was last changed, and 0 for other models, which never change."""
    base = base_model(model)
    if model_type(base) is not ModelType.FOLDER:
        return 0
    folder = Path(split_file(base)[0]).expanduser()
    return max((path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()), default=0)
