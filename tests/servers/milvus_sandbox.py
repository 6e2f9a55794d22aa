"""Run Milvus in its own network namespace, because it listens on all interfaces.

Run it as ``milvus_sandbox.py GRPC_PORT HEALTH_PORT MILVUS_SERVER FOLDER``. It opens the two ports on 127.0.0.1, enters a new
network namespace, starts the server there, and forwards connections to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

NEW_NETWORK, NEW_USER = 0x40000000, 0x10000000
DIE_WITH_PARENT = 1
GRPC, HEALTH = 19530, 9091


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def enter_network_namespace() -> None:
    """Enter a network namespace that contains only its own 127.0.0.1."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK) and libc.unshare(NEW_NETWORK | NEW_USER):
        sys.exit(f"no new network namespace: {os.strerror(ctypes.get_errno())}")
    with socket.socket() as control:
        # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING.
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def start_proxy(listener: socket.socket, port: int) -> asyncio.Server:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(forward(reader, inner_writer), forward(inner_reader, writer))

    return await asyncio.start_server(connect, sock=listener)


async def main(grpc: int, health: int, program: str, folder: str) -> None:
    listeners = [socket.create_server(("127.0.0.1", port)) for port in (grpc, health)]
    enter_network_namespace()
    proxies = [await start_proxy(listener, port) for listener, port in zip(listeners, (GRPC, HEALTH), strict=True)]
    server = subprocess.Popen(
        [program, "--data", folder, "--proxy-port", str(GRPC)],
        cwd=folder,
        preexec_fn=die_with_parent,
    )
    while server.poll() is None:
        await asyncio.sleep(0.2)
    for proxy in proxies:
        proxy.close()
    sys.exit(f"milvus-server ended with status {server.returncode}")


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
