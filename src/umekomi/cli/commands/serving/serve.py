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

from ....catalog import DEFAULT_MODEL
from ....embedder import Embedder
from ....errors import InputError, UmekomiError
from ....extras import needed_for
from ....machine import available_cores
from ....settings import current
from ...listening import address_of, bind, check_certificate, is_loopback, listen, reload_certificate
from ...options import PATH, integer_option, load_embedder, port_option
from ...output import echo, echo_err
from ...rerank_models import load_rerankers, rerank_models_option, reranker_sources
from ...served_models import served_models
from ...signals import Signals, StopRequested
from ...status_line import status_line

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from ....serve.limits.buckets import BucketStore


@dataclass(frozen=True, slots=True)
class _ServeOptions:
    """Options of the command line; see the help texts below."""

    host: str
    port: int
    models: tuple[str, ...]
    aliases: tuple[str, ...]
    rerank_models: tuple[str, ...]
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
    #: In a worker process: ID of the process that started it.
    parent: int | None = None
    #: In a worker process: file descriptor of the shared rate limits.
    shared_limits: int | None = None

    def to_json(self) -> str:
        """Return the options as JSON, for a worker process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> _ServeOptions:
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
    help="Address to listen on. An address that other machines can reach (0.0.0.0) needs --api-keys, and TLS: --ssl-certfile or "
    "a reverse proxy.",
)
@port_option(default=8000)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    help="Model to load at the start: an ID, a folder (./my-model), or owner/name on the Hugging Face hub. Repeatable. Default: "
    f"{DEFAULT_MODEL}.",
)
@rerank_models_option
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="NAME=MODEL",
    help="Serve a model under another ID as well, for clients that cannot change it. MODEL is anything that -m accepts. "
    "Repeatable.",
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
    type=PATH,
    help="Accept only clients with an API key from this file, see `umekomi keys new`.",
)
@click.option(
    "--store",
    "stores",
    multiple=True,
    metavar="NAME=URL",
    help="Let clients search this store (or file of `umekomi embed`) at /v1/search under this name. Repeatable.",
)
@click.option(
    "--explore",
    metavar="INPUT",
    help="Show this file of `umekomi embed` (or store) at /explore, like `umekomi explore`.",
)
@click.option(
    "--state",
    type=PATH,
    help="Folder of /v1/files and /v1/batches. Default: UMEKOMI_STATE or ~/.local/state/umekomi.",
)
@integer_option("--key-batches", minimum=1, default=100, help="Maximum number of unfinished batches per API key.")
@integer_option(
    "--key-storage-mb", minimum=1, default=10_240, help="Maximum size of the files and batch results of an API key."
)
@integer_option("--cache-mb", minimum=0, default=0, help="Size of the cache for vectors of repeated texts, in MiB.")
@integer_option("--workers", minimum=1, maximum=64, default=1, help="Number of processes that share the port.")
@click.option("--reuse-port", is_flag=True, help="Share the port with other servers that use this option.")
@click.option("--allow-remote", is_flag=True, help="Allow an address that other machines can reach without API keys.")
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Additional host name of the server. Without API keys on a loopback address, the Host header must be localhost, "
    "127.0.0.1, [::1] or one of these. Repeatable.",
)
@integer_option(
    "--max-wait", minimum=1, default=20, help="Reject requests that would wait longer, with status 429. In seconds."
)
@integer_option(
    "--drain", minimum=0, default=30, help="Time to finish running requests when the server stops, in seconds."
)
@click.option(
    "--log-level",
    type=click.Choice(["error", "warning", "info", "debug"]),
    default="warning",
    show_default=True,
    help="Least severe messages to log.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Format of the log."
)
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON when the server is ready.")
@click.option(
    "--ssl-certfile",
    type=PATH,
    help="Serve HTTPS with this certificate chain (PEM). Use it, or a reverse proxy with TLS, on any network.",
)
@click.option(
    "--ssl-keyfile",
    type=PATH,
    help="Private key of the certificate, if it is in a different file.",
)
@click.option(
    "--ssl-keyfile-password",
    envvar="UMEKOMI_SSL_KEYFILE_PASSWORD",
    help="Password of the private key. Prefer the environment variable, because other users can see command lines.",
    show_envvar=True,
)
@click.option("--worker", "is_worker", is_flag=True, hidden=True, help="Read the options from standard input.")
def command(*, is_worker: bool, **options: object) -> None:
    """Serve the OpenAI-compatible API on this machine.

    Clients of OpenAI's embeddings API work with base_url http://HOST:PORT/v1 and any API key, unless --api-keys is given.
    The vectors are not OpenAI's.

    Other models of the catalog are loaded when they are first used, unless --models is `named`. The ID of a model in a folder is
    the name of the folder; that of a model on the Hugging Face hub is owner/name.

    Ctrl-C or SIGTERM finishes running requests and stops the server with status 0; a second signal stops it immediately.
    Unfinished batches continue when the server starts again. SIGHUP reloads the API keys and the certificate.
    """
    with Signals().active() as signals:
        with suppress(StopRequested), needed_for("Serving"):
            _run(_ServeOptions.from_json(sys.stdin.read()) if is_worker else _ServeOptions(**options), signals)  # type: ignore[arg-type]
        echo_err("Stopped.")


def _run(options: _ServeOptions, signals: Signals) -> None:
    if options.key_file is None and not options.allow_remote and not is_loopback(options.host):
        raise InputError(
            f"Other machines can reach {options.host or 'an empty host'}, and this server does not require API keys. "
            "Use --host 127.0.0.1, or --api-keys FILE, or --allow-remote if you trust the network."
        )
    models, aliases = served_models(options.models, options.aliases)
    reranker_sources(options.rerank_models, others=[*models, *aliases])
    for store in options.stores:
        if not re.fullmatch("[A-Za-z0-9._-]{1,64}=.+", store):
            raise InputError(
                f"--store {store[:80]} must have the form NAME=URL. "
                "The name consists of letters, digits, dots, hyphens and underscores."
            )
    for name in options.allow_hosts:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]", name):
            raise InputError(f"--allow-host {name[:80]} is not a host name. Omit http:// and the port.")
    check_certificate(options.ssl_certfile, options.ssl_keyfile, options.ssl_keyfile_password)
    if options.ssl_certfile is None and not is_loopback(options.host) and options.parent is None:
        echo_err(
            "API keys and texts are not encrypted. Use --ssl-certfile and --ssl-keyfile, or a reverse proxy with TLS."
        )
    if options.workers > 1:
        _serve_many(options, signals)
    else:
        _serve(options, signals)


def _serve(options: _ServeOptions, signals: Signals) -> None:
    import uvicorn  # imported lazily, because the server's packages are an extra

    from ....serve.app import create_app
    from ....serve.limits.connections import HttpProtocol
    from ....serve.limits.keys import KeyFile
    from ....serve.logs import LogFormat, configure_logging
    from ....serve.models import Models, freeze_garbage_collector
    from ....serve.rerankers import Rerankers
    from ....serve.service import Limits
    from ....serve.workers import stop_with_parent

    if options.parent is not None:
        stop_with_parent(options.parent)
    keys = KeyFile(options.key_file) if options.key_file is not None else None
    sources, aliases = served_models(options.models, options.aliases)
    names = list(sources)
    configure_logging(options.log_level, LogFormat(options.log_format))
    with listen(options.host, options.port, reuse_port=options.reuse_port) as listener:
        # Before a model is loaded, because the folder or the file may be wrong.
        state, explorer = _state(options), _explorer(options)

        def load(model: str) -> Embedder:
            embedder = load_embedder(sources.get(model, model), name=model)
            embedder.warm_up()
            freeze_garbage_collector()
            return embedder

        only_named = (options.serve_models or ("named" if keys is not None else "all")) == "named"
        loaded = Models(load=load, only=names if only_named else None, aliases=aliases)
        device = current().device
        echo_err(f"Loading {', '.join([*names, *options.rerank_models])}{'' if device == 'cpu' else f' on {device}'} …")
        loaded.preload(names)
        rerankers = load_rerankers(reranker_sources(options.rerank_models, others=names))
        address = address_of(options.host, listener.getsockname()[1], tls=options.ssl_certfile is not None)

        class Server(uvicorn.Server):
            # This process handles signals during its whole life, so that none is lost between two handlers.
            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets=sockets)
                freeze_garbage_collector()
                if not self.should_exit:
                    _announce(address, names, list(rerankers), as_json=options.as_json)

        app = create_app(
            loaded,
            rerankers=Rerankers(rerankers),
            keys=keys,
            limits=Limits(
                cache_bytes=options.cache_mb * 2**20,
                max_wait_seconds=options.max_wait,
                max_key_batches=options.key_batches,
                max_key_bytes=options.key_storage_mb * 2**20,
            ),
            state=state,
            stores=dict(store.split("=", 1) for store in options.stores),
            routes=explorer,
            hosts=_allowed_hosts(options),
            buckets=_buckets(options),
        )
        config = uvicorn.Config(
            app,
            lifespan="on",
            http=HttpProtocol,
            ws="none",
            log_config=None,  # set by configure_logging
            # The app already logs one line for each request.
            log_level="warning" if options.log_level == "info" else options.log_level,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=options.drain,
            ssl_certfile=options.ssl_certfile,
            ssl_keyfile=options.ssl_keyfile,
            ssl_keyfile_password=options.ssl_keyfile_password,
        )
        config.load()
        server = Server(config)

        def stop() -> None:
            server.should_exit = True

        def reload() -> None:
            if keys is not None:
                keys.reload()
            if config.ssl is not None:
                reload_certificate(config.ssl, options.ssl_certfile, options.ssl_keyfile, options.ssl_keyfile_password)

        signals.on_hangup(reload)
        signals.on_stop(stop)
        server.run(sockets=[listener])


def _allowed_hosts(options: _ServeOptions) -> frozenset[str] | None:
    """Return the accepted host names of requests, or None for any, if API keys or the network protect the server."""
    if not options.allow_hosts and (options.key_file is not None or not is_loopback(options.host)):
        return None
    return _host_names(options)


def _host_names(options: _ServeOptions) -> frozenset[str]:
    from ....serve.middleware.auth import LOOPBACK_NAMES

    host = f"[{options.host}]" if ":" in options.host else options.host
    return LOOPBACK_NAMES | {name.lower() for name in (host, *options.allow_hosts)}


def _buckets(options: _ServeOptions) -> BucketStore | None:
    if options.shared_limits is None:
        return None
    from ....serve.limits.shared_buckets import SharedBuckets

    return SharedBuckets(options.shared_limits)


def _explorer(options: _ServeOptions) -> Sequence[BaseRoute]:
    if options.explore is None:
        return ()
    from ....serve.routes.explorer import explorer_routes
    from ..embedding.explore import make_explorer

    return explorer_routes(make_explorer(options.explore), hosts=_host_names(options))


def _state(options: _ServeOptions) -> Path | None:
    """Return the folder of files and batches, or None with a notice if the default folder cannot be written."""
    from ....serve.batch_api.storage import BatchStorage
    from ....serve.errors import StateError

    folder = options.state or current().state
    if folder is None:
        return None
    try:
        BatchStorage(folder, max_bytes=0).close()
    except StateError as error:
        raise InputError(str(error)) from error
    except UmekomiError as error:
        if options.state is not None:
            raise InputError(f"The folder {folder} cannot be used: {error}") from error
        echo_err(
            f"Files and batches are not available, because {folder} cannot be written. Choose another folder with --state."
        )
        return None
    return folder


def _serve_many(options: _ServeOptions, signals: Signals) -> None:
    from ....serve.limits.shared_buckets import create_shared_file
    from ....serve.workers import Workers

    # Bound but not listening: this socket reserves the port for the workers, and receives no connections.
    reserved = bind(options.host, options.port, reuse_port=True)
    threads = current().threads or max(1, available_cores() // options.workers)
    with reserved, create_shared_file() as shared:
        worker_options = replace(
            options,
            port=reserved.getsockname()[1],
            reuse_port=True,
            workers=1,
            as_json=True,
            parent=os.getpid(),
            shared_limits=shared.fileno(),
        )
        workers = Workers(
            [sys.executable, "-m", "umekomi", "serve", "--worker"],
            options=worker_options.to_json(),
            count=options.workers,
            environment={"UMEKOMI_THREADS": str(threads)},
            drain=options.drain,
            report=echo_err,
            pass_fds=[shared.fileno()],
        )
        signals.on_hangup(workers.reload)
        signals.on_stop(workers.stop, force=workers.kill)
        # The workers report on the same terminal.
        status_line.end()
        workers.run(
            lambda ready: _announce(ready["base_url"], ready["models"], ready["rerankers"], as_json=options.as_json)
        )


def _announce(address: str, models: list[str], rerankers: list[str], *, as_json: bool) -> None:
    if as_json:
        echo(json.dumps({"base_url": address, "models": models, "rerankers": rerankers}))
        return
    echo(f"Ready: base_url = {address}")
    echo(
        f"Try:   curl {address}/embeddings -H 'Content-Type: application/json' "
        f'-d \'{{"model": "{models[0]}", "input": "hello"}}\''
    )
