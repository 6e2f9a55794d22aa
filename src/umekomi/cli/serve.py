"""``umekomi serve``."""

from __future__ import annotations

import errno
import ipaddress
import json
import logging
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import click

from ..catalog import DEFAULT_MODEL, load_catalog
from ..embedder import Embedder
from ..errors import InputError, MissingExtraError
from .output import TransferBar, note


@click.command(
    "serve", epilog="Example:  umekomi serve --port 8000  and then  OpenAI(base_url='http://127.0.0.1:8000/v1')"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes one that is free."
)
@click.option(
    "-m", "--model", "models", multiple=True, help="Load these models at the start (by default the default one)."
)
@click.option(
    "--api-keys",
    "key_file",
    type=click.Path(path_type=Path),
    help="Only clients with a key of this file (`umekomi keys new`); then any address may be listened on.",
)
@click.option("--reuse-port", is_flag=True, help="Share the port with other servers that say so too: replicas.")
@click.option(
    "--allow-remote", is_flag=True, help="Listen on an address that other machines reach, although there are no keys."
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
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON when the server is ready.")
def command(
    host: str,
    port: int,
    models: tuple[str, ...],
    key_file: Path | None,
    reuse_port: bool,
    allow_remote: bool,
    drain: int,
    log_level: str,
    as_json: bool,
) -> None:
    """Serve the OpenAI-compatible API on this machine.

    Any client of OpenAI's embeddings API works when its base_url is http://HOST:PORT/v1; any text will do as its key,
    unless --api-keys names a file of keys.
    Models that are not named here are loaded when they are first asked for. Ctrl-C, or SIGTERM, finishes what is being
    answered and stops.
    """
    try:
        import uvicorn  # here, because the server's packages are an extra

        from ..serve.app import create_app
        from ..serve.keys import KeyFile
        from ..serve.models import Models
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"Serving needs the package {error.name}: pip install 'umekomi[serve]'.") from error
    if key_file is None and not allow_remote and not _is_loopback(host):
        raise InputError(
            f"{host or 'An empty host'} can be reached by other machines, and this server asks for no key. "
            "Serve on 127.0.0.1, name a file of keys with --api-keys, or say --allow-remote if the network is your own."
        )
    keys = KeyFile(key_file) if key_file is not None else None
    wanted = list(dict.fromkeys(models)) or [DEFAULT_MODEL]
    for model in wanted:
        load_catalog().model(model)
    logging.basicConfig(stream=sys.stderr, level=log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    listener = _listen(host, port, reuse_port=reuse_port)
    loaded = Models(load=lambda model: Embedder(model, report=note, transfer=TransferBar()))
    note(f"Loading {', '.join(wanted)} …")
    loaded.preload(wanted)
    address = _address(host, listener.getsockname()[1])

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            _announce(address, wanted, as_json=as_json)

    config = uvicorn.Config(
        create_app(loaded, keys=keys),
        lifespan="on",
        ws="none",
        log_config=None,  # basicConfig above: one format for all
        log_level="warning" if log_level == "info" else log_level,  # the app writes its own line for each request
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain,
    )
    # uvicorn drains, and then raises the signal again for whoever was there before it: for us the work is done by then.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _already_drained)
    Server(config).run(sockets=[listener])
    note("Stopped.")


def _already_drained(signum: int, frame: FrameType | None) -> None:
    pass


def _announce(address: str, models: list[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"base_url": address, "models": models}))
        return
    click.echo(f"Ready: base_url = {address}")
    click.echo(
        f"Try:   curl {address}/embeddings -H 'Content-Type: application/json' "
        f'-d \'{{"model": "{models[0]}", "input": "hello"}}\''
    )


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        # At once, and not when the models are loaded: until somebody listens, a second server could bind the port too.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"Port {port} of {host} is in use. Choose another with --port, or --port 0 for a free one."
            ) from error
        raise InputError(f"The server cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener
