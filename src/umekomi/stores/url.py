"""Parsing of store URLs into the engine, the server, the secret, and the options of the collection.

::

    redis://user:password@host:6379/reviews?m=32&ef=400&quantization=int8&timeout=30&tls=true
    ───┬─   ───────┬─────      ──┬─ ───┬───  ─────────────┬────────────── ────────┬────────
    engine      secret        server  name             options                connection

Secrets are never shown. :attr:`Address.url` leaves the secret out; the URL that it returns opens the same collection if
the secret is in the environment variable of the engine (see ``SCHEMES``).
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
DEFAULT_OPEN_TIMEOUT_S = 2.0
"""How long opening a collection waits for a server that does not respond, unless the URL sets a timeout.

This is short because the address may be wrong."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
_SECRET_PARAMETERS = ("password", "api_key", "token")
_MIN_OPTIONS = {"m": 2, "ef": 1, "ef_search": 1, "shards": 1, "replicas": 1}
_MAX_OPTION = 1 << 16


class Quantization(StrEnum):
    """How an engine compresses the components of its vectors."""

    NONE = "none"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Options of a collection. None selects the engine's default. The metric is always cosine similarity."""

    #: Number of neighbors of each vector in the HNSW graph.
    m: int | None = None
    #: Number of candidates while the HNSW index is built.
    ef: int | None = None
    #: Number of candidates while the index is searched.
    ef_search: int | None = None
    #: Compression of the vectors.
    quantization: Quantization | None = None
    #: Compare every vector instead of using an index.
    exact: bool | None = None
    #: Number of shards, for clusters.
    shards: int | None = None
    #: Number of copies of each shard, for clusters.
    replicas: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the options that are not None as plain data."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> StoreOptions:
        """Return the options of a dictionary that :meth:`to_dict` returned. Unknown keys are ignored."""
        options = {name: data[name] for name in OPTION_NAMES if name in data}
        if "quantization" in options:
            options["quantization"] = Quantization(str(options["quantization"]))
        return cls(**cast(dict[str, Any], options))

    def merge_over(self, stored: StoreOptions, url: str, *, mutable: Sequence[str] = ("ef_search",)) -> StoreOptions:
        """Return the stored options of a collection, overridden by these.

        Args:
            stored: Options that the collection was created with.
            url: URL of the collection, for the error message.
            mutable: Names of the options that may differ from the stored ones.

        Raises:
            InputError: Another option differs from the stored one.
        """
        for name, value in self.to_dict().items():
            before = getattr(stored, name)
            if name not in mutable and value != before and not (value is False and before is None):
                shown = "the engine's default" if before is None else str(before).lower()
                raise InputError(
                    f"{url} was created with {name}={shown}, which cannot be changed. Leave the option out, or copy "
                    "the rows to a new collection with `umekomi store copy`."
                )
        return replace(stored, **self.to_dict())


OPTION_NAMES = tuple(option.name for option in fields(StoreOptions))


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An entry of the table ``SCHEMES``: where an engine is implemented and which URL parameters it accepts."""

    #: Module with ``open_collection`` and ``list_collections``. It is imported when a URL needs it.
    module: str
    #: Name of the extra (``umekomi[extra]``) that installs the client library.
    extra: str = ""
    #: Fields of :class:`StoreOptions` that the engine accepts.
    options: tuple[str, ...] = ()
    #: Values of the option ``quantization`` that the engine accepts besides ``none``.
    quantizations: tuple[str, ...] = ()
    #: Other URL parameters, which configure the connection.
    parameters: tuple[str, ...] = ()
    #: Environment variable that holds the password or key.
    environment: str = ""
    #: Whether the URL names a local folder (or nothing) instead of a server.
    embedded: bool = False
    #: Whether the path of the URL may begin with a database.
    has_databases: bool = False
    #: Port of servers whose URL has none.
    default_port: int = 0
    #: Whether the engine stores sparse vectors.
    has_sparse: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL."""

    scheme: str
    #: Everything after ``://`` except the user, the secret and the parameters.
    location: str
    user: str = ""
    secret: str = field(default="", repr=False)
    #: Options of the collection that the URL sets.
    options: StoreOptions = StoreOptions()
    #: How long a request to a server that does not respond is repeated, in seconds.
    timeout_s: float = DEFAULT_TIMEOUT_S
    #: The same while the collection is opened. It equals ``timeout_s`` if the URL sets a timeout.
    open_timeout_s: float = DEFAULT_OPEN_TIMEOUT_S
    #: The other parameters of the URL.
    parameters: Mapping[str, str] = field(default_factory=dict)
    #: Whether the location is a local folder.
    embedded: bool = False
    #: Environment variable with the secret, for URLs without one.
    environment: str = ""
    #: Whether the path may begin with a database.
    has_databases: bool = False
    #: Port of the server if the location has none.
    default_port: int = 0

    @property
    def url(self) -> str:
        """The URL without the secret and the options."""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        query = f"?{urlencode(self.parameters, safe='/:')}" if self.parameters else ""
        return f"{self.scheme}://{user}{self.location.replace('?', '%3F')}{query}"

    @property
    def host(self) -> str:
        """The host name of the server. The default is this machine."""
        return urlsplit(f"//{self.location}").hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        """The port of the server.

        Raises:
            InputError: The port is not a number from 0 to 65,535.
        """
        try:
            return urlsplit(f"//{self.location}").port or self.default_port
        except ValueError as error:
            raise InputError(
                f"{self.url} has an invalid port. Write the URL as {self.scheme}://host:{self.default_port}/name."
            ) from error

    @property
    def path(self) -> str:
        """The path after the server: ``name``, or ``database/name``."""
        return unquote(self.location.partition("/")[2]).strip("/")

    @property
    def database(self) -> str:
        """The part of the path before the collection's name."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The name of the collection, which is the last part of the path.

        It has 1 to 200 ASCII letters, digits, ``_``, ``-`` and ``.`` and does not begin with a dot, so that ``.``,
        ``..``, slashes and control characters never reach a file system or a server.

        Raises:
            InputError: The name is empty or has other characters, or the path has too many parts.
        """
        path = self.location if self.embedded else unquote(self.location.partition("/")[2])
        name = path.rpartition("/")[2]
        if not name or (not self.embedded and self.path.count("/") > self.has_databases):
            example = "folder/name" if self.embedded else "host/name"
            raise InputError(f"{self.url} names no collection. Write the URL as {self.scheme}://{example}.")
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{self.url} names a collection {name[:200]!r}. Use 1 to 200 letters without accents, digits, _, - "
                "and dots, and do not begin with a dot."
            )
        return name

    @property
    def tls(self) -> bool:
        """Whether the URL has ``?tls=true``."""
        return self.parameters.get("tls", "").lower() in ("1", "true", "yes")

    def without_secret(self) -> Address:
        """Return the same address without its secret."""
        return replace(self, secret="")

    def with_secret(self, secrets: Mapping[str, str]) -> Address:
        """Return the same address with the secret of the environment, unless it already has one."""
        return replace(self, secret=self.secret or secrets.get(self.environment, ""))

    def sibling(self, name: str) -> Address:
        """Return the address of a collection on this server, or in this folder."""
        return replace(self, location=f"{self.location.rstrip('/')}/{name}", options=StoreOptions())

    def redact(self, text: str) -> str:
        """Return a text with the secret replaced by ``***``."""
        for secret in {self.secret, quote(self.secret, safe=""), quote(self.secret)} - {""}:
            text = text.replace(secret, "***")
        return text


def parse_address(url: str, spec: EngineSpec, secrets: Mapping[str, str]) -> Address:
    """Parse a store URL.

    Args:
        url: URL of a collection, a server or a folder.
        spec: Entry of the URL's scheme in ``SCHEMES``.
        secrets: Passwords and keys of the environment, by the names of their variables.

    Raises:
        InputError: The URL has a parameter that the engine does not accept, or a parameter with an invalid value.
    """
    scheme, _, rest = url.partition("://")
    location, _, query = rest.partition("?")
    user = password = ""
    if spec.embedded:
        # In a folder name only ? is escaped. All other % characters are part of the name.
        location = re.sub("%3f", "?", location, flags=re.IGNORECASE)
    else:
        if "@" in location.partition("/")[2] or "@" in query:
            # The message does not repeat the URL, because a part of it belongs to the password.
            raise InputError(
                f"The {scheme}:// URL has an @ after the server. Write / ? # @ in a password as %2F %3F %23 %40."
            )
        authority, slash, path = location.partition("/")
        account, _, server = authority.rpartition("@")
        user, _, password = (unquote(part) for part in account.partition(":"))
        location = f"{server}{slash}{path}"
    address = Address(
        scheme, location, user, password,
        embedded=spec.embedded, environment=spec.environment, has_databases=spec.has_databases,
        default_port=spec.default_port,
    )  # fmt: skip
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    if not spec.embedded:
        for name in _SECRET_PARAMETERS:
            address = replace(address, secret=parameters.pop(name, address.secret))
        address = address.with_secret(secrets)
        if "timeout" in parameters:
            seconds = _parse_timeout(parameters.pop("timeout"), address.url)
            address = replace(address, timeout_s=seconds, open_timeout_s=seconds)
    options = {
        name: _parse_option(name, parameters.pop(name), spec, address.url)
        for name in spec.options
        if name in parameters
    }
    unknown = [name for name in parameters if name not in spec.parameters]
    if unknown:
        accepted = (*spec.options, *spec.parameters, *(() if spec.embedded else ("timeout",)))
        raise InputError(
            f"{address.url} has an unknown parameter {unknown[0]!r}. "
            f"{scheme}:// accepts {', '.join(accepted) or 'none'}."
        )
    return replace(address, options=StoreOptions(**options), parameters=parameters)


def _parse_option(name: str, value: str, spec: EngineSpec, url: str) -> Any:
    if name == "quantization":
        accepted = ("none", *spec.quantizations)
        if value not in accepted:
            raise InputError(f"{url} has quantization={value}. Use one of {', '.join(accepted)}.")
        return Quantization(value)
    if name == "exact":
        if value.lower() not in ("true", "false", "1", "0"):
            raise InputError(f"{url} has exact={value}. Use true or false.")
        return value.lower() in ("true", "1")
    minimum = _MIN_OPTIONS[name]
    if not (value.isascii() and value.isdigit() and minimum <= int(value[:9]) <= _MAX_OPTION):
        raise InputError(f"{url} has {name}={value}. Use an integer from {minimum} to {_MAX_OPTION}.")
    return int(value)


def _parse_timeout(value: str, url: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise InputError(f"{url} has timeout={value}. Use a number of seconds above 0 and up to 86400.")
    return seconds
