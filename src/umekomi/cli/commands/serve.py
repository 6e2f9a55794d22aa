"""``umekomi serve``."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...catalog import DEFAULT_MODEL, load_catalog
from ...embedder import Embedder
from ...encoders.model_ids import ModelType, model_type
from ...errors import InputError, UmekomiError
from ...extras import needed_for
from ...machine import available_cores
from ...settings import current
from ..listening import address_of, bind, check_certificate, is_loopback, listen, reload_certificate
from ..output import TransferBar, echo, echo_err
from ..signals import Signals, StopRequested

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from ...serve.limits.buckets import BucketStore


@dataclass(frozen=True, slots=True)
class _Options:
    """What was asked for on the command line."""

    host: str
    port: int
    models: tuple[str, ...]
    serve_models: str | None
    key_file: Path | None
    stores: tuple[str, ...]
    explore: str | None
    state: Path | None
    key_batches: int
    key_storage_mb: int
    cache_mb: int
    workers: int
    reuse_port: bool
    allow_remote: bool
    allow_hosts: tuple[str, ...]
    max_wait: int
    drain: int
    log_level: str
    log_format: str
    as_json: bool
    ssl_certfile: Path | None
    ssl_keyfile: Path | None
    ssl_keyfile_password: str | None = field(repr=False)
    #: Of a worker process: the process that started it.
    parent: int | None = None
    #: Of a worker process: the descriptor of the table in which the workers count what the keys have used.
    limits_table: int | None = None

    def to_json(self) -> str:
        """Return the options as text, for another process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> _Options:
        """Return the options that :meth:`to_json` wrote."""
        values = json.loads(text)
        for option in fields(cls):
            value = values[option.name]
            if isinstance(value, list):
                values[option.name] = tuple(value)
            elif value is not None and "Path" in str(option.type):
                values[option.name] = Path(value)
        return cls(**values)


@click.command(
    "serve", epilog="Example:  umekomi serve --port 8000  and then  OpenAI(base_url='http://127.0.0.1:8000/v1')"
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. One that other machines reach (0.0.0.0) needs --api-keys, and TLS: --ssl-certfile or a "
    "reverse proxy.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes one that is free."
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    help="Load these at the start (by default the default one): ids, folders (./my-model), or owner/name of the hub.",
)
@click.option(
    "--models",
    "serve_models",
    type=click.Choice(["named", "all"]),
    help="Serve only the models named with -m, or all models of the catalog. Default: named with --api-keys, else all.",
)
@click.option(
    "--api-keys",
    "key_file",
    type=click.Path(path_type=Path),
    help="Only clients with a key of this file (`umekomi keys new`); then any address may be listened on.",
)
@click.option(
    "--store",
    "stores",
    multiple=True,
    metavar="NAME=URL",
    help="Let clients search this store (or file of `umekomi embed`) at /v1/search, under this name.",
)
@click.option(
    "--explore",
    metavar="SOURCE",
    help="Show this file of `umekomi embed` (or store) at /explore, as `umekomi explore` does.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The folder of /v1/files and /v1/batches; by default UMEKOMI_STATE or ~/.local/state/umekomi.",
)
@click.option(
    "--key-batches",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Maximum number of unfinished batches per API key.",
)
@click.option(
    "--key-storage-mb",
    type=click.IntRange(1),
    default=10_240,
    show_default=True,
    help="Maximum size of the files and batch results of an API key.",
)
@click.option(
    "--cache-mb",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Megabytes of vectors to remember for texts that are asked for again.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that share the port."
)
@click.option("--reuse-port", is_flag=True, help="Share the port with other servers that say so too: replicas.")
@click.option(
    "--allow-remote", is_flag=True, help="Listen on an address that other machines reach, although there are no keys."
)
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Answer under this name too. Without keys on loopback a request must name localhost, 127.0.0.1, [::1] or one of these.",
)
@click.option(
    "--max-wait",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Refuse, with 429, a request that would wait for more seconds than this.",
)
@click.option(
    "--drain",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Seconds to finish requests when told to stop.",
)
@click.option(
    "--log-level", type=click.Choice(["error", "warning", "info", "debug"]), default="warning", show_default=True
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON when the server is ready.")
@click.option(
    "--ssl-certfile",
    type=click.Path(path_type=Path),
    help="Serve HTTPS with this certificate (PEM, with its chain). Needed, or a reverse proxy with TLS, on any network.",
)
@click.option(
    "--ssl-keyfile", type=click.Path(path_type=Path), help="Private key of the certificate, if it is in another file."
)
@click.option(
    "--ssl-keyfile-password",
    envvar="UMEKOMI_SSL_KEYFILE_PASSWORD",
    help="Password of the private key. Prefer the variable UMEKOMI_SSL_KEYFILE_PASSWORD: others see a command line.",
)
@click.option("--worker", "is_worker", is_flag=True, hidden=True, help="Read the options from standard input.")
def command(*, is_worker: bool, **options: object) -> None:
    """Serve the OpenAI-compatible API on this machine.

    Any client of OpenAI's embeddings API works when its base_url is http://HOST:PORT/v1; any text will do as its key,
    unless --api-keys names a file of keys.
    Other models of the catalog are loaded when they are first used, unless --models is `named`; a folder's model goes by the
    folder's name, one of the Hugging Face hub by its owner/name. Ctrl-C, or SIGTERM, finishes what is being
    answered and stops with status 0; batches go on when a server starts again. A second one stops at once. SIGHUP reads
    the keys and the certificate again.
    """
    with Signals().active() as signals:
        with suppress(StopRequested), needed_for("Serving"):
            _run(_Options.from_json(sys.stdin.read()) if is_worker else _Options(**options), signals)  # type: ignore[arg-type]
        echo_err("Stopped.")


def _run(asked: _Options, signals: Signals) -> None:
    if asked.key_file is None and not asked.allow_remote and not is_loopback(asked.host):
        raise InputError(
            f"{asked.host or 'An empty host'} can be reached by other machines, and this server asks for no key. "
            "Serve on 127.0.0.1, name a file of keys with --api-keys, or say --allow-remote if the network is your own."
        )
    _served_names(asked.models)
    for store in asked.stores:
        if not re.fullmatch("[A-Za-z0-9._-]{1,64}=.+", store):
            raise InputError(
                f"--store {store[:80]} is not NAME=URL with a name of letters, digits, dots, dashes and underscores."
            )
    for name in asked.allow_hosts:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]", name):
            raise InputError(f"--allow-host {name[:80]} is not the name of a host; leave out http:// and the port.")
    check_certificate(asked.ssl_certfile, asked.ssl_keyfile, asked.ssl_keyfile_password)
    if asked.ssl_certfile is None and not is_loopback(asked.host) and asked.parent is None:
        echo_err(
            "Keys and texts travel unencrypted. Unless a reverse proxy encrypts them, serve HTTPS with --ssl-certfile and "
            "--ssl-keyfile."
        )
    if asked.workers > 1:
        _serve_many(asked, signals)
    else:
        _serve(asked, signals)


def _serve(asked: _Options, signals: Signals) -> None:
    import uvicorn  # here, because the server's packages are an extra

    from ...serve.app import create_app
    from ...serve.limits.connections import HttpProtocol
    from ...serve.limits.keys import KeyFile
    from ...serve.logs import LogFormat, configure_logging
    from ...serve.models import Models, freeze_garbage_collector
    from ...serve.service import Limits
    from ...serve.workers import stop_with_parent

    if asked.parent is not None:
        stop_with_parent(asked.parent)
    keys = KeyFile(asked.key_file) if asked.key_file is not None else None
    places = _served_names(asked.models or (DEFAULT_MODEL,))
    wanted = list(places)
    configure_logging(asked.log_level, LogFormat(asked.log_format))
    with listen(asked.host, asked.port, reuse_port=asked.reuse_port) as listener:

        def load(model: str) -> Embedder:
            embedder = Embedder(places.get(model, model), name=model, report=echo_err, transfer=TransferBar())
            freeze_garbage_collector()
            return embedder

        only_named = (asked.serve_models or ("named" if keys is not None else "all")) == "named"
        loaded = Models(load=load, only=wanted if only_named else None)
        device = current().device
        echo_err(f"Loading {', '.join(wanted)}{'' if device == 'cpu' else f' on {device}'} …")
        loaded.preload(wanted)
        address = address_of(asked.host, listener.getsockname()[1], tls=asked.ssl_certfile is not None)

        class Server(uvicorn.Server):
            # The signals are handled from the beginning of this process to its end, so that none is lost between two handlers.
            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets=sockets)
                freeze_garbage_collector()
                if not self.should_exit:
                    _announce(address, wanted, as_json=asked.as_json)

        app = create_app(
            loaded,
            keys=keys,
            limits=Limits(
                cache_bytes=asked.cache_mb * 2**20,
                max_wait_seconds=asked.max_wait,
                max_key_batches=asked.key_batches,
                max_key_bytes=asked.key_storage_mb * 2**20,
            ),
            state=_state(asked),
            stores=dict(store.split("=", 1) for store in asked.stores),
            routes=_explorer(asked),
            hosts=_hosts(asked),
            buckets=_buckets(asked),
        )
        config = uvicorn.Config(
            app,
            lifespan="on",
            http=HttpProtocol,
            ws="none",
            log_config=None,  # configure_logging above: one format for all
            log_level="warning"
            if asked.log_level == "info"
            else asked.log_level,  # the app writes a line for each request
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=asked.drain,
            ssl_certfile=asked.ssl_certfile,
            ssl_keyfile=asked.ssl_keyfile,
            ssl_keyfile_password=asked.ssl_keyfile_password,
        )
        config.load()
        server = Server(config)

        def stop() -> None:
            server.should_exit = True

        def reload() -> None:
            if keys is not None:
                keys.reload()
            if config.ssl is not None:
                reload_certificate(config.ssl, asked.ssl_certfile, asked.ssl_keyfile, asked.ssl_keyfile_password)

        signals.on_hangup(reload)
        signals.on_stop(stop)
        server.run(sockets=[listener])


def _served_names(models: Sequence[str]) -> dict[str, str]:
    """What is loaded, by the id that clients ask for: of a folder its name, else the model's own id.

    Raises:
        ModelNotFoundError: no model has this id.
        InputError: a folder has no name, or that of another model.
    """
    catalog = load_catalog()
    found: dict[str, str] = {}
    for model in models:
        source = model_type(model, catalog)
        folder = source is ModelType.FOLDER
        name = Path(model).expanduser().resolve().name if folder else model
        if not folder and source is not ModelType.HUB:
            catalog.model(model)
        if folder and (not name or name in catalog.models or found.get(name, model) != model):
            raise InputError(
                f"The model in {model} would go by the name {name!r}, which is another's; rename the folder."
            )
        found[name] = model
    return found


def _hosts(asked: _Options) -> frozenset[str] | None:
    """The names under which a request may come; None: any, as the keys or the network keep others out."""
    if not asked.allow_hosts and (asked.key_file is not None or not is_loopback(asked.host)):
        return None
    return _own_names(asked)


def _own_names(asked: _Options) -> frozenset[str]:
    from ...serve.middleware.auth import LOOPBACK_NAMES

    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    return LOOPBACK_NAMES | {name.lower() for name in (host, *asked.allow_hosts)}


def _buckets(asked: _Options) -> BucketStore | None:
    if asked.limits_table is None:
        return None
    from ...serve.limits.shared_buckets import SharedBuckets

    return SharedBuckets(asked.limits_table)


def _explorer(asked: _Options) -> Sequence[BaseRoute]:
    if asked.explore is None:
        return ()
    from ...serve.routes.explorer import explorer_routes
    from .explore import make_explorer

    return explorer_routes(make_explorer(asked.explore), hosts=_own_names(asked))


def _state(asked: _Options) -> Path | None:
    """The folder of files and batches; None, and a word about it, if the one that nobody named cannot be written."""
    from ...serve.batch_api.storage import BatchStorage
    from ...serve.errors import StateError

    folder = asked.state or current().state
    if folder is None:
        return None
    try:
        BatchStorage(folder, max_bytes=0).close()
    except StateError as error:
        raise InputError(str(error)) from error
    except UmekomiError as error:
        if asked.state is not None:
            raise InputError(f"The folder {folder} cannot be used: {error}") from error
        echo_err(f"There are no files and batches, as {folder} cannot be written; name another folder with --state.")
        return None
    return folder


def _serve_many(asked: _Options, signals: Signals) -> None:
    from ...serve.limits.shared_buckets import create_shared_file
    from ...serve.workers import Workers

    # Bound but not listening: it keeps the port for the workers, and gets no connection itself.
    reserved = bind(asked.host, asked.port, reuse_port=True)
    threads = current().threads or max(1, available_cores() // asked.workers)
    with reserved, create_shared_file() as table:  # in it the workers count what the keys have used, together
        options = replace(
            asked,
            port=reserved.getsockname()[1],
            reuse_port=True,
            workers=1,
            as_json=True,
            parent=os.getpid(),
            limits_table=table.fileno(),
        )
        workers = Workers(
            [sys.executable, "-m", "umekomi", "serve", "--worker"],
            options=options.to_json(),
            count=asked.workers,
            environment={"UMEKOMI_THREADS": str(threads)},
            drain=asked.drain,
            report=echo_err,
            pass_fds=[table.fileno()],
        )
        signals.on_hangup(workers.reload)
        signals.on_stop(workers.stop, force=workers.kill)
        workers.run(lambda ready: _announce(ready["base_url"], ready["models"], as_json=asked.as_json))


def _announce(address: str, models: list[str], *, as_json: bool) -> None:
    if as_json:
        echo(json.dumps({"base_url": address, "models": models}))
        return
    echo(f"Ready: base_url = {address}")
    echo(
        f"Try:   curl {address}/embeddings -H 'Content-Type: application/json' "
        f'-d \'{{"model": "{models[0]}", "input": "hello"}}\''
    )
