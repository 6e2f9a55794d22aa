"""Settings from environment variables.

============================  ==========================================================================================
``UMEKOMI_CACHE``             folder of downloaded assets and caches; default ``~/.cache/umekomi``
``UMEKOMI_ASSET_PATH``        folders with assets, searched before the cache and never written to, separated as in ``PATH``
``UMEKOMI_CATALOG``           TOML files with your own models, separated as in ``PATH`` (see docs/plugins.md)
``UMEKOMI_STATE``             folder of the server's files and batches; default ``~/.local/state/umekomi``
``UMEKOMI_OFFLINE``           ``1``: never download an asset
``UMEKOMI_DEVICE``            where transformers run: ``cpu``, the default; an NVIDIA GPU, ``cuda`` or ``cuda:1`` and so on;
                              one of Apple's, ``mps``. GPUs need ``pip install 'umekomi[gpu]'``
``UMEKOMI_PRECISION``         ``auto`` (bf16 where the CPU computes in it, else fp32; fp16 on a GPU), ``bf16``, ``fp32`` or, on a
                              GPU alone, ``fp16``
``UMEKOMI_THREADS``           CPU threads for encoding; ``0``, the default, means all
``UMEKOMI_STREAMS``           batches that run in parallel, each on its share of the threads; default 1
``UMEKOMI_BATCH_TOKENS``      tokens in one batch of a transformer on the CPU; default 2048. A GPU's batches are of fixed sizes
``UMEKOMI_PREPARE``           ``0``: store no compiled models and vocabularies in the cache folder, which make later starts faster
``UMEKOMI_TUNED``             ``0``: ignore the result of ``umekomi tune``
``OPENAI_BASE_URL``           the API that ``remote:MODEL`` uses; by default OpenAI's
``OPENAI_API_KEY``            API key for ``OPENAI_BASE_URL``; never printed
``UMEKOMI_ALLOW_REMOTE``      ``1``: a ``remote:`` or hub model may be used because a file or a store names it, without ``-m``
``UMEKOMI_FORCE_DIMENSIONS``  ``1``: ``dimensions`` shortens the vectors of every model, also of those not trained for it
``UMEKOMI_DEBUG``             ``1``: the command line shows the traceback of every error
``UMEKOMI_REMOTE_BATCH``      texts per request to ``OPENAI_BASE_URL``; default 2048, OpenAI's maximum
``REDIS_PASSWORD`` and so on   passwords and keys of vector stores (``SECRETS``), for URLs that hold none; never printed
============================  ==========================================================================================

The result of ``umekomi tune`` for this machine, stored in the cache folder, replaces the defaults of precision, threads, streams
and batch tokens. Environment variables override it. It is not used on a GPU.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from .errors import InputError
from .machine import PRECISIONS, Tuning, read_tuning

logger = logging.getLogger(__name__)

SECRETS = ("REDIS_PASSWORD", "PGPASSWORD", "MILVUS_TOKEN", "QDRANT_API_KEY", "WEAVIATE_API_KEY", "PINECONE_API_KEY")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process. Pass your own to an :class:`~umekomi.Embedder` to override the environment."""

    cache: Path
    asset_path: tuple[Path, ...] = ()
    offline: bool = False
    device: str = "cpu"
    precision: str = "auto"
    threads: int = 0
    streams: int = 1
    batch_tokens: int = 2048
    remote_base_url: str | None = None
    remote_api_key: str | None = field(default=None, repr=False)
    remote_batch: int = 2048
    allow_remote: bool = False
    force_dimensions: bool = False
    prepare: bool = True
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    state: Path | None = None
    #: Catalog files that add models to those that Umekomi ships.
    catalog: tuple[Path, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Create settings from a mapping such as ``os.environ``.

        >>> Settings.from_environment({"UMEKOMI_CACHE": "/tmp/u", "UMEKOMI_THREADS": "2"}).threads
        2

        Raises:
            InputError: A variable has an invalid value.
        """
        home = environment.get("XDG_CACHE_HOME") or "~/.cache"
        cache_folder = _path(environment.get("UMEKOMI_CACHE") or f"{home}/umekomi")
        state_home = environment.get("XDG_STATE_HOME") or "~/.local/state"
        folders = (folder for folder in environment.get("UMEKOMI_ASSET_PATH", "").split(os.pathsep) if folder)
        device = environment.get("UMEKOMI_DEVICE") or "cpu"
        if not re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", device):
            raise InputError(f"UMEKOMI_DEVICE is {device!r}; set it to cpu, cuda, cuda:NUMBER or mps.")
        untuned = device != "cpu" or environment.get("UMEKOMI_TUNED") == "0"
        tuned = Tuning() if untuned else read_tuning(cache_folder)
        precision = environment.get("UMEKOMI_PRECISION") or tuned.precision
        if precision not in PRECISIONS:
            raise InputError(f"UMEKOMI_PRECISION is {precision!r}; set it to one of {', '.join(PRECISIONS)}.")
        return cls(
            cache=cache_folder,
            asset_path=tuple(_path(folder) for folder in folders),
            offline=_is_true(environment, "UMEKOMI_OFFLINE"),
            device=device,
            precision=precision,
            threads=_integer(environment, "UMEKOMI_THREADS", default=tuned.threads, minimum=0),
            streams=_integer(environment, "UMEKOMI_STREAMS", default=tuned.streams, minimum=1),
            batch_tokens=_integer(environment, "UMEKOMI_BATCH_TOKENS", default=tuned.batch_tokens, minimum=1),
            remote_base_url=environment.get("OPENAI_BASE_URL") or None,
            allow_remote=_is_true(environment, "UMEKOMI_ALLOW_REMOTE"),
            force_dimensions=_is_true(environment, "UMEKOMI_FORCE_DIMENSIONS"),
            prepare=environment.get("UMEKOMI_PREPARE") != "0",
            remote_api_key=environment.get("OPENAI_API_KEY") or None,
            remote_batch=_integer(environment, "UMEKOMI_REMOTE_BATCH", default=2048, minimum=1),
            secrets=_secrets(environment),
            state=_path(environment.get("UMEKOMI_STATE") or f"{state_home}/umekomi"),
            catalog=tuple(
                _path(path).absolute() for path in environment.get("UMEKOMI_CATALOG", "").split(os.pathsep) if path
            ),
        )


def without_secrets(settings: Settings) -> Settings:
    """Return settings without keys and passwords, so that they can be written to a file."""
    return replace(settings, remote_api_key=None, secrets=())


def with_secrets(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """Return settings with the keys and passwords in an environment."""
    return replace(settings, remote_api_key=environment.get("OPENAI_API_KEY") or None, secrets=_secrets(environment))


def _secrets(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, environment[name]) for name in SECRETS if environment.get(name))


def _is_true(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("1", "true", "yes")


def _path(text: str) -> Path:
    """Return a path with ``~`` replaced by the home folder or its substitute.

    Raises:
        InputError: There is no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        if not text.startswith("~/"):
            raise InputError(f"There is no home folder for {text}; write the whole path.") from None
        return _temporary_home() / text[2:]


@cache
def _temporary_home() -> Path:
    """Create a private temporary folder for users without HOME and without a passwd entry, as in some containers.

    Raises:
        InputError: The folder cannot be created, or another user can write to it.
    """
    home = Path(tempfile.gettempdir(), f"umekomi-home-{os.getuid()}")
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        status = home.lstat()
        is_private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    except OSError:
        is_private = False
    if not is_private:
        raise InputError(
            "There is no home folder: HOME is not set, and the user has no passwd entry. Set UMEKOMI_CACHE and UMEKOMI_STATE to "
            "folders that you can write to."
        )
    logger.warning("There is no home folder; %s is used instead. Set HOME, UMEKOMI_CACHE or UMEKOMI_STATE.", home)
    return home


def _integer(environment: Mapping[str, str], name: str, *, default: int, minimum: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) < minimum:
        raise InputError(f"{name} is {text!r}; set it to a whole number of at minimum {minimum}.")
    return int(text)


@cache
def current() -> Settings:
    """Return the settings of this process, from ``os.environ`` at the first call."""
    return Settings.from_environment(os.environ)
