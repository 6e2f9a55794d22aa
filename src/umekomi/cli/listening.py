"""Addresses that a server listens on."""

from __future__ import annotations

import errno
import ipaddress
import socket

from ..errors import InputError


def address_of(host: str, port: int) -> str:
    """The base URL of a server."""
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """A socket that has an address and does not listen yet. Raises InputError if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _cannot_listen(host, port, error) from error
    return bound


def listen(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """A socket that listens. Raises InputError if it cannot."""
    listener = bind(host, port, reuse_port=reuse_port)
    try:
        # At once, and not when the models are loaded: until somebody listens, a second server could bind the port too.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return InputError(f"Port {port} of {host} is in use. Choose another with --port, or --port 0 for a free one.")
    return InputError(f"The server cannot listen on {host}:{port}: {error.strerror}.")
