"""The URL of a collection, taken apart: the engine, the server, the secret, and how the collection is made.

::

    redis://user:password@host:6379/reviews?m=32&ef=400&quantization=int8&timeout=30&tls=true
    ───┬─   ───────┬─────      ──┬─ ───┬───  ─────────────┬────────────── ────────┬────────
    engine      secret        server  name     how it is made (Options)      the connection

A secret is never shown: :attr:`Address.url` leaves it out, and what it shows opens the collection where the secret is in the
environment instead (each engine's variable is in the table ``SCHEMES``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ..errors import InputError

DEFAULT_TIMEOUT_S = 10.0
OPENING_S = 2.0
"""How long opening a collection waits for a server that does not answer, unless the URL sets a timeout.

The address may be wrong, so this is short."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
_SECRETS = ("password", "api_key", "token")
_LEAST = {"m": 2, "ef": 1, "ef_search": 1, "shards": 1, "replicas": 1}
_MOST = 1 << 16


class Quantization(StrEnum):
    """How an engine shortens the numbers of its vectors."""

    NONE = "none"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Options:
    """How a collection is made. None leaves a setting to the engine's adapter. The metric is always the cosine.

    ``m`` is HNSW's number of neighbours of a vector, ``ef`` its number of candidates while the index is built, ``ef_search``
    while it is searched. ``exact`` compares every vector: no index. ``shards`` and ``replicas`` are for several machines.
    """

    m: int | None = None
    ef: int | None = None
    ef_search: int | None = None
    quantization: Quantization | None = None
    exact: bool | None = None
    shards: int | None = None
    replicas: int | None = None

    def given(self) -> dict[str, Any]:
        """The settings that are not None, as plain data."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def over(self, made: Options, url: str, *, free: Sequence[str] = ("ef_search",)) -> Options:
        """These settings over those that a collection was made with; only those of ``free`` may change later.

        Raises:
            InputError: another one is not what the collection was made with.
        """
        for name, value in self.given().items():
            there = getattr(made, name)
            if name not in free and value != there and not (value is False and there is None):
                shown = "the engine's default" if there is None else str(there).lower()
                raise InputError(
                    f"{url} was made with {name}={shown}, which cannot be changed; leave it out, or copy the rows to a new "
                    "collection with `umekomi store copy`."
                )
        return replace(made, **self.given())


OPTIONS = tuple(setting.name for setting in fields(Options))


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An entry of the table ``SCHEMES``: where an engine is implemented and which URL parameters it accepts."""

    #: Module with ``open_collection`` and ``list_collections``. It is imported when a URL needs it.
    module: str
    #: Name of the extra (``umekomi[extra]``) that installs the client library.
    extra: str = ""
    #: Fields of :class:`Options` that the engine accepts.
    options: tuple[str, ...] = ()
    #: Values of the option ``quantization`` that the engine accepts besides ``none``.
    quantizations: tuple[str, ...] = ()
    #: Other URL parameters, which configure the connection.
    parameters: tuple[str, ...] = ()
    #: Environment variable that holds the password or key.
    environment: str = ""
    #: Whether the URL names a local folder (or nothing) instead of a server.
    embedded: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, taken apart. ``rest`` is what stands after ``://``, without the secret and the parameters.

    ``environment`` is the variable with the secret of a URL that has none. ``opening_s`` is how long opening a collection waits
    for a server that does not answer, in seconds: the whole timeout if the URL sets one.
    """

    scheme: str
    rest: str
    user: str = ""
    secret: str = field(default="", repr=False)
    options: Options = Options()
    timeout_s: float = DEFAULT_TIMEOUT_S
    opening_s: float = OPENING_S
    parameters: Mapping[str, str] = field(default_factory=dict)
    embedded: bool = False
    environment: str = ""

    @property
    def url(self) -> str:
        """The URL to show: no secret, and nothing of how the collection is made."""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        query = f"?{urlencode(self.parameters, safe='/:')}" if self.parameters else ""
        return f"{self.scheme}://{user}{self.rest.replace('?', '%3F')}{query}"

    @property
    def host(self) -> str:
        """The server; this machine where the URL names none."""
        return urlsplit(f"//{self.rest}").hostname or "127.0.0.1"

    def port(self, default: int) -> int:
        """The server's port."""
        try:
            return urlsplit(f"//{self.rest}").port or default
        except ValueError as error:
            raise InputError(
                f"{self.url} has no good port; write it like {self.scheme}://host:{default}/name."
            ) from error

    @property
    def path(self) -> str:
        """What stands after the server: ``name``, or ``folder/name``."""
        return unquote(self.rest.partition("/")[2]).strip("/")

    @property
    def name(self) -> str:
        """The collection's name: the last part of the path, checked by :func:`check_name`."""
        whole = self.rest if self.embedded else unquote(self.rest.partition("/")[2])
        return check_name(whole.rpartition("/")[2], self)

    def without_secret(self) -> Address:
        """The same collection, to be opened with the secret of the environment."""
        return replace(self, secret="")

    def with_secret(self, secrets: Mapping[str, str]) -> Address:
        """The same collection with the secret of the environment, unless it has one."""
        return replace(self, secret=self.secret or secrets.get(self.environment, ""))

    @property
    def tls(self) -> bool:
        """``?tls=true``."""
        return self.parameters.get("tls", "").lower() in ("1", "true", "yes")

    def at(self, name: str) -> Address:
        """The collection of this name on the same server (or in the same folder)."""
        return replace(self, rest=f"{self.rest.rstrip('/')}/{name}", options=Options())

    def clean(self, text: str) -> str:
        """A message without the secret."""
        for shown in {self.secret, quote(self.secret, safe=""), quote(self.secret)} - {""}:
            text = text.replace(shown, "***")
        return text


def check_name(name: str, address: Address) -> str:
    """Check the name of a collection, for every engine.

    A name has 1 to 200 ASCII letters, digits, ``_``, ``-`` and ``.`` and does not begin with a dot, so that ``.``, ``..``,
    slashes and control characters can never reach a file system or a server.

    Raises:
        InputError: The name is empty or has other characters.
    """
    if not name:
        example = "folder/name" if address.embedded else "host/name"
        raise InputError(f"{address.url} names no collection; write it like {address.scheme}://{example}.")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{address.url} names a collection {name[:200]!r}. Use 1 to 200 letters without accents, digits, _, - "
            "and dots; do not begin with a dot."
        )
    return name


def parse_address(url: str, spec: EngineSpec, secrets: Mapping[str, str]) -> Address:
    """Take a URL apart.

    Args:
        url: it.
        spec: the entry of its scheme in ``SCHEMES``.
        secrets: the environment's passwords and keys, by the variables' names.

    Raises:
        InputError: it has a parameter that the engine does not take, or one with a wrong value.
    """
    scheme, _, whole = url.partition("://")
    rest, _, query = whole.partition("?")
    user = password = ""
    if spec.embedded:
        # Of a folder's name only what cannot be written otherwise is written so: names with a % mean themselves.
        rest = re.sub("%3f", "?", rest, flags=re.IGNORECASE)
    else:
        if "@" in rest.partition("/")[2] or "@" in query:
            # Nothing of it is shown: some of it is of a password.
            raise InputError(
                f"The {scheme}:// URL has an @ after its server; write / ? # @ of a password as %2F %3F %23 %40."
            )
        authority, slash, path = rest.partition("/")
        account, _, server = authority.rpartition("@")
        user, _, password = (unquote(part) for part in account.partition(":"))
        rest = f"{server}{slash}{path}"
    address = Address(scheme, rest, user, password, embedded=spec.embedded, environment=spec.environment)
    given = dict(parse_qsl(query, keep_blank_values=True))
    if not spec.embedded:
        for name in _SECRETS:
            address = replace(address, secret=given.pop(name, address.secret))
        address = address.with_secret(secrets)
        if "timeout" in given:
            seconds = _seconds(given.pop("timeout"), address.url)
            address = replace(address, timeout_s=seconds, opening_s=seconds)
    options = {name: _option(name, given.pop(name), spec, address.url) for name in spec.options if name in given}
    strange = [name for name in given if name not in spec.parameters]
    if strange:
        known = (*spec.options, *spec.parameters, *(() if spec.embedded else ("timeout",)))
        raise InputError(
            f"{address.url} takes no parameter {strange[0]!r}; those of {scheme}:// are {', '.join(known) or 'none'}."
        )
    return replace(address, options=Options(**options), parameters=given)


def _option(name: str, value: str, spec: EngineSpec, url: str) -> Any:
    if name == "quantization":
        known = ("none", *spec.quantizations)
        if value not in known:
            raise InputError(f"{url} has quantization={value}; it may be {', '.join(known)}.")
        return Quantization(value)
    if name == "exact":
        if value.lower() not in ("true", "false", "1", "0"):
            raise InputError(f"{url} has exact={value}; write true or false.")
        return value.lower() in ("true", "1")
    least = _LEAST[name]
    if not (value.isascii() and value.isdigit() and least <= int(value[:9]) <= _MOST):
        raise InputError(f"{url} has {name}={value}; it must be a whole number from {least} to {_MOST}.")
    return int(value)


def _seconds(value: str, url: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise InputError(f"{url} has timeout={value}; it must be a number of seconds, more than 0.")
    return seconds


def options_of(data: Mapping[str, object]) -> Options:
    """The reverse of :meth:`Options.given`."""
    known = {name: value for name, value in data.items() if name in OPTIONS}
    if "quantization" in known:
        known["quantization"] = Quantization(str(known["quantization"]))
    return Options(**cast(dict[str, Any], known))
