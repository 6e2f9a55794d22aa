"""A door of TLS before a server that has none. Run as a program: ``tls_door.py PORT CERTIFICATE KEY``; it prints its own port."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(port: int, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["postgresql", "h2"])

    async def visitor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    door = await asyncio.start_server(visitor, "127.0.0.1", 0, ssl=context)
    print(door.sockets[0].getsockname()[1], flush=True)
    await door.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
