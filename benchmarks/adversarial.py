"""Latency of short requests while other clients upload 24 MB of adversarial bodies.

    .venv/bin/python benchmarks/adversarial.py [--source PATH_OF_ANOTHER_src] [--seconds 20] [--only NAME]

Connections with 24 MB of requests in flight attack one server (`umekomi serve`, text-embedding-ada-002). Each sends its body,
waits for the response, and starts again. Meanwhile one client requests /health every 50 ms, and another one embeds a short text
every 200 ms. The table contains the maximum and median latency of both, without an attack and during each attack. All processes
share the cores of one machine. After `--seconds`, the benchmark waits for responses that are still pending.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

MODEL = "text-embedding-ada-002"
IN_FLIGHT = 24 * 10**6


def body(value: str) -> bytes:
    return b'{"model": "%s", "input": %s}' % (MODEL.encode(), value.encode())


def attacks() -> dict[str, tuple[bytes, str]]:
    """Return the body and the additional header lines of each attack."""
    letters = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=300_000))
    short = json.dumps([letters[n : n + 4000] for n in range(0, 296_000, 4000)] * 4)
    return {
        "one letter, 8 MB": (body(json.dumps("a" * 8_000_000)), ""),
        "random letters, 300 KB (just countable)": (body(json.dumps(letters)), ""),
        "4 KB inputs of random letters, 1.2 MB": (body(short), ""),
        "Japanese without spaces, 8 MB": (body(json.dumps("梅" * 2_600_000, ensure_ascii=False)), ""),
        "8 MB of numbers": (body("[" + "1," * 3_999_000 + "1]"), ""),
        "8 MB of empty arrays": (body("[" + "[]," * 2_660_000 + "[]]"), ""),
        "escapes, 8 MB": (body('"' + "\\u0061" * 1_330_000 + '"'), ""),
        "gzip of 15 MB of one letter": (
            gzip.compress(body(json.dumps("a" * 15_000_000))),
            "Content-Encoding: gzip\r\n",
        ),
    }


def attack(port: int, content: bytes, header: str, stop: threading.Event, statuses: list[int]) -> None:
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{header}"
    request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
            try:
                connection.sendall(request)
                statuses.append(int(connection.recv(65_536).split(b" ", 2)[1]))
            except (OSError, IndexError):
                statuses.append(0)


def send(port: int, request: bytes) -> float:
    """Send a request and return the time until the response starts, in milliseconds."""
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        connection.sendall(request)
        connection.recv(65_536)
    return (time.perf_counter() - start) * 1000


def probe(port: int, request: bytes, pause: float, stop: threading.Event, times: list[float]) -> None:
    while not stop.is_set():
        times.append(send(port, request))
        stop.wait(pause)


def measure(port: int, content: bytes | None, header: str, seconds: float) -> str:
    text = json.dumps({"model": MODEL, "input": "The food was delicious."}).encode()
    embed = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    )
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    stop_attack, stop_probe = threading.Event(), threading.Event()
    times: tuple[list[float], list[float]] = ([], [])
    statuses: list[int] = []
    probes = [
        threading.Thread(target=probe, args=(port, health, 0.05, stop_probe, times[0])),
        threading.Thread(
            target=probe,
            args=(port, embed + b"Content-Length: %d\r\n\r\n" % len(text) + text, 0.2, stop_probe, times[1]),
        ),
    ]
    # A compressed body counts with its decompressed size.
    size = 15_000_000 if header else len(content or b"")
    attackers = [
        threading.Thread(target=attack, args=(port, content, header, stop_attack, statuses))
        for _ in range(max(1, min(64, IN_FLIGHT // size)) if content else 0)
    ]
    for thread in probes + attackers:
        thread.start()
    time.sleep(seconds)
    stop_attack.set()
    for thread in attackers:
        thread.join()
    stop_probe.set()
    for thread in probes:
        thread.join()
    cells = [f"{max(values):,.0f} / {statistics.median(values):,.0f}" for values in times]
    counts = ", ".join(f"{statuses.count(status)} x {status}" for status in sorted(set(statuses)))
    return f"{cells[0]} | {cells[1]} | {counts}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1] / "src")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only")
    options = parser.parse_args()
    command = [sys.executable, "-m", "umekomi", "serve", "-m", MODEL, "--port", "0", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(options.source)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as server:
        assert server.stdout is not None
        try:
            port = int(json.loads(server.stdout.readline())["base_url"].split(":")[2].split("/")[0])
            print(
                "| attack | /health, max / median ms | short text, max / median ms | responses to the attack |",
                flush=True,
            )
            print("| --- | --- | --- | --- |")
            print(f"| none | {measure(port, None, '', options.seconds / 2)} |", flush=True)
            for name, (content, header) in attacks().items():
                if options.only in (None, name):
                    print(f"| {name} | {measure(port, content, header, options.seconds)} |", flush=True)
        finally:
            server.kill()


if __name__ == "__main__":
    main()
