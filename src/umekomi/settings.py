"""What the environment says, read once.

============================  ==========================================================================================
``UMEKOMI_CACHE``             folder of fetched assets and compiled models; default ``~/.cache/umekomi``
``UMEKOMI_ASSET_PATH``        folders with assets, tried before the cache, separated as in ``PATH``; never written to
``UMEKOMI_CATALOG``           TOML files with your own models, separated as in ``PATH`` (see docs/plugins.md)
``UMEKOMI_STATE``             folder of the server's files and batches; default ``~/.local/state/umekomi``
``UMEKOMI_OFFLINE``           ``1``: never open a connection to fetch an asset
``UMEKOMI_DEVICE``            where transformers run: ``cpu``, the default; an NVIDIA GPU, ``cuda`` or ``cuda:1`` and so on;
                              one of Apple's, ``mps``. GPUs need ``pip install 'umekomi[gpu]'``
``UMEKOMI_PRECISION``         ``auto`` (bf16 where the CPU computes in it, else fp32; fp16 on a GPU), ``bf16``, ``fp32`` or, on a
                              GPU alone, ``fp16``
``UMEKOMI_THREADS``           CPU threads for encoding; ``0``, the default, means all
``UMEKOMI_STREAMS``           batches that run side by side, each on its share of the threads; default 1
``UMEKOMI_BATCH_TOKENS``      tokens in one batch of a transformer on the CPU; default 2048. A GPU's batches are of fixed sizes
``UMEKOMI_TUNED``             ``0``: do not use what ``umekomi tune`` has kept
``OPENAI_BASE_URL``           the API that ``remote:MODEL`` asks; by default the official one
``OPENAI_API_KEY``            the key that it sends; never printed
``UMEKOMI_ALLOW_REMOTE``      ``1``: a ``remote:`` or hub model may be used because a file or a store names it, without ``-m``
``UMEKOMI_DEBUG``             ``1``: the command line shows the traceback of every error
``UMEKOMI_REMOTE_BATCH``      texts in one request to it; default 2048, the official limit
``REDIS_PASSWORD`` and so on   passwords and keys of vector stores (``SECRETS``), for URLs that hold none; never printed
============================  ==========================================================================================

Where ``umekomi tune`` has kept a choice for this machine in the cache, it stands in for the defaults of precision, threads,
streams and tokens a batch; what the environment says goes before it. On a GPU it is not used.
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
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    state: Path | None = None
    #: Catalog files that add models to those that Umekomi ships.
    catalog: tuple[Path, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Settings from a mapping like ``os.environ``.

        >>> Settings.from_environment({"UMEKOMI_CACHE": "/tmp/u", "UMEKOMI_THREADS": "2"}).threads
        2

        Raises:
            InputError: a variable has a value that cannot be used.
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
            threads=_whole_number(environment, "UMEKOMI_THREADS", default=tuned.threads, least=0),
            streams=_whole_number(environment, "UMEKOMI_STREAMS", default=tuned.streams, least=1),
            batch_tokens=_whole_number(environment, "UMEKOMI_BATCH_TOKENS", default=tuned.batch_tokens, least=1),
            remote_base_url=environment.get("OPENAI_BASE_URL") or None,
            allow_remote=_is_true(environment, "UMEKOMI_ALLOW_REMOTE"),
            remote_api_key=environment.get("OPENAI_API_KEY") or None,
            remote_batch=_whole_number(environment, "UMEKOMI_REMOTE_BATCH", default=2048, least=1),
            secrets=_secrets(environment),
            state=_path(environment.get("UMEKOMI_STATE") or f"{state_home}/umekomi"),
            catalog=tuple(
                _path(path).absolute() for path in environment.get("UMEKOMI_CATALOG", "").split(os.pathsep) if path
            ),
        )


def without_secrets(settings: Settings) -> Settings:
    """The settings without keys and passwords, to be written somewhere."""
    return replace(settings, remote_api_key=None, secrets=())


def with_secrets(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The settings with the keys and passwords of an environment."""
    return replace(settings, remote_api_key=environment.get("OPENAI_API_KEY") or None, secrets=_secrets(environment))


def _secrets(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, environment[name]) for name in SECRETS if environment.get(name))


def _is_true(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("1", "true", "yes")


def _path(text: str) -> Path:
    """A path whose ``~`` is the home folder, or what stands in for it.

    Raises:
        InputError: There is no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        if not text.startswith("~/"):
            raise InputError(f"There is no home folder for {text}; write the whole path.") from None
        return _stand_in_home() / text[2:]


@cache
def _stand_in_home() -> Path:
    """A private temporary folder, for users without HOME and without a passwd entry, as in some containers.

    Raises:
        InputError: The folder cannot be made, or belongs to somebody else.
    """
    home = Path(tempfile.gettempdir(), f"umekomi-home-{os.getuid()}")
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        facts = home.lstat()
        is_private = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
    except OSError:
        is_private = False
    if not is_private:
        raise InputError(
            "There is no home folder: HOME is not set, and the user has no passwd entry. Set UMEKOMI_CACHE and UMEKOMI_STATE to "
            "folders that you can write to."
        )
    logger.warning("There is no home folder; %s is used instead. Set HOME, UMEKOMI_CACHE or UMEKOMI_STATE.", home)
    return home


def _whole_number(environment: Mapping[str, str], name: str, *, default: int, least: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise InputError(f"{name} is {text!r}; set it to a whole number of at least {least}.")
    return int(text)


@cache
def current() -> Settings:
    """The settings of this process: ``os.environ`` as it was at the first call."""
    return Settings.from_environment(os.environ)
