"""Sockets and certificates of a server."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import ssl
from pathlib import Path

from ..errors import InputError

logger = logging.getLogger(__name__)


def address_of(host: str, port: int, *, tls: bool = False) -> str:
    """Return the base URL of a server."""
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{name}:{port}/v1"


def check_certificate(certificate: Path | None, key: Path | None, password: str | None) -> None:
    """Check that a server can use a certificate and its private key.

    Args:
        certificate: PEM file with a certificate and its chain, or None for a server without TLS.
        key: PEM file with the private key, or None if it is in the file of the certificate.
        password: Password of the private key, if it has one.

    Raises:
        InputError: A file is missing or not PEM, the key does not belong to the certificate, or the password is wrong.
    """
    if certificate is None:
        if key is not None:
            raise InputError("--ssl-keyfile needs --ssl-certfile, the certificate of the key.")
        return
    for path in (certificate, key or certificate):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
        if b"-----BEGIN " not in content:
            raise InputError(f"{path} is not a PEM file: no line begins with -----BEGIN.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: password or "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"The private key in {key or certificate} does not belong to the certificate in {certificate}."
        elif b"ENCRYPTED" in (key or certificate).read_bytes():
            message = f"The private key in {key or certificate} is encrypted. Set UMEKOMI_SSL_KEYFILE_PASSWORD to its password."
        elif key is None:
            message = f"{certificate} contains no valid private key. Give the file of the key with --ssl-keyfile."
        else:
            message = f"{certificate} and {key} are not a valid certificate and private key ({error.reason or error})."
        raise InputError(message) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{certificate} is not a valid certificate: {error}.") from error


def reload_certificate(
    context: ssl.SSLContext, certificate: Path | None, key: Path | None, password: str | None
) -> None:
    """Use a renewed certificate for new connections. If it is invalid, log an error and keep the current one."""
    try:
        check_certificate(certificate, key, password)
        if certificate is not None:
            context.load_cert_chain(certificate, key, password=lambda: password or "")
            logger.warning("the certificate was reloaded")
    except (InputError, OSError) as error:
        logger.error("the certificate was not reloaded: %s", error)


def is_loopback(host: str) -> bool:
    """Return True if an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """Return a socket that is bound to an address but does not listen yet.

    Raises:
        InputError: The address is in use or unavailable.
    """
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
    """Return a listening socket.

    Raises:
        InputError: The address is in use or unavailable.
    """
    listener = bind(host, port, reuse_port=reuse_port)
    try:
        # Listen before the models are loaded, because another server can bind the port until one listens.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return InputError(f"Port {port} of {host} is in use. Choose another with --port, or --port 0 for a free one.")
    return InputError(f"The server cannot listen on {host}:{port}: {error.strerror}.")
