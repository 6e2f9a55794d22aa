"""``umekomi serve``."""

from __future__ import annotations

import errno
import ipaddress
import socket

import click

from ..catalog import DEFAULT_MODEL, load_catalog
from ..embedder import Embedder
from ..errors import InputError, MissingExtraError
from .output import note


@click.command(
    "serve", epilog="Example:  umekomi serve --port 8000  and then  OpenAI(base_url='http://127.0.0.1:8000/v1')"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, help="0 takes one that is free.")
@click.option(
    "-m", "--model", "models", multiple=True, help="Load these models at the start (by default the default one)."
)
@click.option(
    "--allow-remote", is_flag=True, help="Listen on an address that other machines reach, although there are no keys."
)
@click.option(
    "--log-level", type=click.Choice(["error", "warning", "info", "debug"]), default="warning", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON when the server is ready.")
def command(host: str, port: int, models: tuple[str, ...], allow_remote: bool, log_level: str, as_json: bool) -> None:
    """Serve the OpenAI-compatible API on this machine.

    Any client of OpenAI's embeddings API works when its base_url is http://HOST:PORT/v1; any text will do as its key.
    """
    try:
        import uvicorn  # here, because the server's packages are an extra

        from ..serve.app import create_app
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"Serving needs the package {error.name}: pip install 'umekomi[serve]'.") from error
    if not allow_remote and not _is_loopback(host):
        raise InputError(
            f"{host} can be reached by other machines, and this server asks for no key. "
            "Serve on 127.0.0.1, or say --allow-remote if the network is your own."
        )
    preload = models or (DEFAULT_MODEL,)
    for model in preload:
        load_catalog().model(model)
    listener = _listen(host, port)
    address = f"http://{host}:{listener.getsockname()[1]}/v1"
    app = create_app(preload=preload, load=lambda model: Embedder(model, report=note))
    server = uvicorn.Server(uvicorn.Config(app, log_level=log_level, timeout_graceful_shutdown=30, lifespan="on"))
    note(f"Loading {', '.join(preload)} …")
    original = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await original(sockets=sockets)
        if not server.should_exit:
            _announce(address, preload[0], as_json=as_json)

    server.startup = startup  # type: ignore[method-assign]
    server.run(sockets=[listener])


def _announce(address: str, model: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(f'{{"base_url": "{address}"}}')
        return
    click.echo(f"Ready: base_url = {address}")
    click.echo(
        f"Try:   curl {address}/embeddings -H 'Content-Type: application/json' "
        f'-d \'{{"model": "{model}", "input": "hello"}}\''
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"Port {port} of {host} is in use. Choose another with --port, or --port 0 for a free one."
            ) from error
        raise InputError(f"The server cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener
