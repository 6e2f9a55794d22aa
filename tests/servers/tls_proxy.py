"""TLS proxy for a server without TLS.

Run it as ``tls_proxy.py PORT CERTIFICATE KEY``. It prints the port that it listens on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(port: int, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["postgresql", "h2"])

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(forward(reader, inner_writer), forward(inner_reader, writer))

    proxy = await asyncio.start_server(connect, "127.0.0.1", 0, ssl=context)
    print(proxy.sockets[0].getsockname()[1], flush=True)
    await proxy.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
