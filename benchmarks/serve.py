"""How fast does the server answer? The same all-MiniLM-L6-v2 served here and by infinity-emb, side by side in one run.

    python3 -m venv .venv-peer && .venv-peer/bin/pip install -r benchmarks/infinity-requirements.txt
    .venv/bin/python benchmarks/serve.py --peer .venv-peer/bin/infinity_emb [--seconds 5] [--reviews FILE]
    .venv/bin/python benchmarks/serve.py --only memory          # 100,000 requests to the model without meaning
    .venv/bin/python benchmarks/serve.py --only memory --model all-MiniLM-L6-v2 --requests 20000
    .venv/bin/python benchmarks/serve.py --only lone            # one short query at a time, over HTTP and by the library
    .venv/bin/python benchmarks/serve.py --only overload        # ten times too much for a minute
    .venv/bin/python benchmarks/serve.py --only serialisation   # how much of a large request is writing its answer

Everything runs on one machine and shares its cores: the servers (one at work at a time, two threads each), and the client,
which is a process of its own that does as little as it can. Clients are connections that each send their next request
when the last one is answered; one that is refused (429) waits a second first. A cell ends 60 s after its time at the latest:
what is not answered by then does not count, and is told. Every text is different. Vectors travel as base64, as the official
client asks.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from encode import model_folder
from umekomi import Embedder
from umekomi.catalog import Catalog, ModelCard, Part, load_catalog
from umekomi.serve.schemas.requests import EncodingFormat
from umekomi.serve.schemas.responses import embeddings_body

MODEL, ADA = "all-MiniLM-L6-v2", "text-embedding-ada-002"
THREADS = "2"
CLIENTS = (1, 8, 64, 256)
PATIENCE = 60.0
"""Seconds that a cell of the table goes on after its time, for answers that are still to come."""


def catalog_with_minilm() -> Catalog:
    """The catalog, with MiniLM alone as a model."""
    catalog = load_catalog()
    if MODEL in catalog.models:
        return catalog
    card = ModelCard(MODEL, 384, "cl100k_base", 8191, "MiniLM alone.", (Part(MODEL, 1.0),), MODEL)
    return replace(catalog, models={**catalog.models, MODEL: card})


# ---------------------------------------------------------------- servers


def serve() -> None:
    """Serve as `umekomi serve` does, with MiniLM alone among the models."""
    import uvicorn

    from umekomi.serve.app import create_app
    from umekomi.serve.limits.connections import HttpProtocol
    from umekomi.serve.models import Models, freeze_garbage_collector

    catalog = catalog_with_minilm()
    models = Models(catalog=catalog, load=lambda model: Embedder(model, catalog=catalog))
    models.preload([MODEL])
    config = uvicorn.Config(
        create_app(models), port=0, lifespan="on", http=HttpProtocol, ws="none", log_config=None, access_log=False
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list | None = None) -> None:
            await super().startup(sockets=sockets)
            freeze_garbage_collector()
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)

    Server(config).run()


@contextmanager
def umekomi_server() -> Iterator[tuple[int, int]]:
    """The port and the process id of our server."""
    environment = {**os.environ, "UMEKOMI_THREADS": THREADS}
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            yield int(server.stdout.readline()), server.pid
        finally:
            server.terminate()


@contextmanager
def peer_server(command: str, folder: str) -> Iterator[tuple[int, int]]:
    """The port and the process id of infinity's server."""
    port = 17997
    arguments = [command, "v2", "--model-id", folder, "--served-model-name", MODEL, "--port", str(port)]
    arguments += ["--host", "127.0.0.1", "--engine", "torch", "--device", "cpu", "--log-level", "error"]
    arguments += ["--url-prefix", "/v1", "--no-bettertransformer"]
    environment = {**os.environ, "OMP_NUM_THREADS": THREADS, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    environment["INFINITY_ANONYMOUS_USAGE_STATS"] = "0"
    with subprocess.Popen(arguments, stdout=sys.stderr, env=environment) as server:
        try:
            for _ in range(180):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
                    break
                except OSError:
                    time.sleep(1)
                    if server.poll() is not None:
                        raise SystemExit("the peer does not start") from None
            yield port, server.pid
        finally:
            server.terminate()


# ---------------------------------------------------------------- the client


class Connection(asyncio.Protocol):
    """Sends one request after another and notes what came, and when."""

    def __init__(
        self, requests: Callable[[], bytes], more: Callable[[], bool], seen: list[tuple[int, float]], pause: float = 0.0
    ) -> None:
        self._requests, self._more, self._seen, self._pause = requests, more, seen, pause
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if not self._more():
            self._transport.close()
            return
        self._answer = bytearray()
        self._length = -1
        self._began = time.perf_counter()
        self._transport.write(self._requests())

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._length < 0:
            end = self._answer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._answer[:end]).lower()
            self._length = end + 4 + int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._answer) >= self._length:
            status = int(self._answer[9:12])
            self._seen.append((status, time.perf_counter() - self._began))
            if status == 429 and self._pause:
                asyncio.get_running_loop().call_later(self._pause, self._send)
            else:
                self._send()

    def give_up(self) -> None:
        """Go away without the answer."""
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(error)


def http(texts: list[str], model: str = MODEL) -> bytes:
    """A request as bytes."""
    body = json.dumps({"model": model, "input": texts if len(texts) > 1 else texts[0], "encoding_format": "base64"})
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


async def drive(
    port: int, requests: Callable[[], bytes], clients: int, more: Callable[[], bool], patience: float = float("inf")
) -> list[tuple[int, float]]:
    """Statuses and seconds of every answer that comes within ``patience`` seconds."""
    seen: list[tuple[int, float]] = []
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(requests, more, seen, pause=1.0), "127.0.0.1", port)
        for _ in range(clients)
    ]
    if patience < float("inf"):
        _, late = await asyncio.wait([protocol.done for _, protocol in made], timeout=patience)
        for _, protocol in made:
            if protocol.done in late:
                protocol.give_up()
        if late:
            print(f"{len(late)} of {clients} clients still waited after {patience:.0f} s", file=sys.stderr)
    errors = [error for error in await asyncio.gather(*(protocol.done for _, protocol in made)) if error]
    if errors:
        raise SystemExit(f"{len(errors)} connections were lost: {errors[0]}")
    return seen


def measure(port: int, make: Callable[[int], bytes], clients: int, seconds: float) -> tuple[float, float, float]:
    """Requests a second, and the median and the 99th percentile of their times in milliseconds."""
    numbers = itertools.count()
    ready = [make(next(numbers)) for _ in range(300)]  # made before the clock starts
    spare = iter(ready)

    def request() -> bytes:
        return next(spare, None) or make(next(numbers))

    asyncio.run(drive(port, request, min(clients, 8), bounded(0.5)))
    began = time.perf_counter()
    seen = asyncio.run(drive(port, request, clients, bounded(seconds), patience=seconds + PATIENCE))
    took = time.perf_counter() - began
    statuses = Counter(status for status, _ in seen)
    if statuses.keys() - {200, 429}:
        raise SystemExit(f"answers were {dict(statuses)}")
    if statuses[429]:
        print(f"{clients} clients: {statuses[200]} requests were answered, {statuses[429]} refused", file=sys.stderr)
    times = sorted(1000 * each for status, each in seen if status == 200)
    if not times:
        return 0.0, float("nan"), float("nan")
    return len(times) / took, statistics.median(times), times[int(0.99 * (len(times) - 1))]


def bounded(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end


# ---------------------------------------------------------------- the tables


def read_texts(path: Path) -> tuple[list[str], list[str]]:
    """Short texts as people search for them, and the first 30 words of reviews."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["Summary"] for row in rows], [" ".join(row["Text"].split()[:30]) for row in rows]


def in_process(texts: list[str], size: int, seconds: float, model: str = MODEL) -> tuple[float, float]:
    """The library alone, in a process of its own: lists of texts a second, and the median time of one in milliseconds."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import serve; serve.run_in_process()"
    given = json.dumps({"texts": texts, "size": size, "seconds": seconds, "model": model})
    environment = {**os.environ, "UMEKOMI_THREADS": THREADS}
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    rate, median = json.loads(done.stdout)
    return rate, median


def run_in_process() -> None:
    given = json.load(sys.stdin)
    texts, size = given["texts"], given["size"]
    embedder = Embedder(given["model"], catalog=catalog_with_minilm())
    numbers = itertools.count()
    times = []
    for seconds in (1.0, given["seconds"]):
        times.clear()
        more = bounded(seconds)
        while more():
            batch = [f"{texts[n % len(texts)]} {n}" for n in itertools.islice(numbers, size)]
            began = time.perf_counter()
            embedder.embed(batch)
            times.append(time.perf_counter() - began)
    print(json.dumps([len(times) / sum(times), 1000 * statistics.median(times)]))


def compare(options: argparse.Namespace) -> None:
    short, long = read_texts(options.reviews)

    def one(number: int) -> bytes:
        return http([f"{short[number % len(short)]} {number}"])

    def hundred(number: int) -> bytes:
        return http([f"{long[(number * 100 + n) % len(long)]} {number * 100 + n}" for n in range(100)])

    peer_name = "infinity-emb" if options.peer else "–"
    ours_head = "Umekomi req/s | p50 ms | p99 ms | of the library's texts/s | p50 to the library's"
    print(f"\n| request | clients | {ours_head} | {peer_name} req/s | p50 ms | p99 ms | faster by |")
    print("| --- |" + " ---: |" * 10)
    with tempfile.TemporaryDirectory() as folder, umekomi_server() as (port, _):
        with ExitStack() as stack:
            model_folder(Path(folder))
            (Path(folder) / "modules.json").write_text(
                json.dumps(
                    [
                        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                        {
                            "idx": 2,
                            "name": "2",
                            "path": "2_Normalize",
                            "type": "sentence_transformers.models.Normalize",
                        },
                    ]
                )
            )
            (Path(folder) / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256}))
            (Path(folder) / "1_Pooling").mkdir()
            (Path(folder) / "1_Pooling" / "config.json").write_text(
                json.dumps({"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True})
            )
            peer = stack.enter_context(peer_server(options.peer, folder))[0] if options.peer else None
            if peer:
                agree(port, peer, short[:20])
            for name, make, texts, size in (("one short text", one, short, 1), ("100 texts", hundred, long, 100)):
                for clients in options.clients:
                    # What the library does alone is measured beside each cell, as other work on the machine comes and goes:
                    # for one client call by call, for many the same texts in lists, which is the most that joining could give.
                    joined = 1 if clients == 1 else max(size, 64)
                    library, library_ms = in_process(texts, joined if size == 1 else size, options.seconds)
                    ours = measure(port, make, clients, options.seconds)
                    share = ours[0] * size / (library * (joined if size == 1 else size))
                    cells = [*(f"{value:.1f}" for value in ours), f"{share:.0%}"]
                    cells.append(f"{ours[1] / library_ms:.2f}" if clients == 1 else "")
                    if peer:
                        theirs = measure(peer, make, clients, options.seconds)
                        cells += [*(f"{value:.1f}" for value in theirs), f"{ours[0] / theirs[0]:.1f}"]
                    print(f"| {name} | {clients} | {' | '.join(cells)} |", flush=True)


def agree(ours: int, peer: int, texts: list[str]) -> None:
    """Both must serve the same model."""
    vectors = []
    for port in (ours, peer):
        body = json.dumps({"model": MODEL, "input": texts}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/embeddings", body, {"Content-Type": "application/json"}
        )
        data = json.load(urllib.request.urlopen(request))["data"]
        vectors.append(np.array([row["embedding"] for row in data]))
    least = float((vectors[0] * vectors[1]).sum(axis=1).min())
    print(f"Least cosine between the two servers' vectors: {least:.5f}", file=sys.stderr)
    if least < 0.999:
        raise SystemExit("the servers do not serve the same model")


def serialisation(options: argparse.Namespace) -> None:
    """How much of a large request is writing its answer."""
    texts = [
        f"{text} {n}" for n, text in enumerate(itertools.islice(itertools.cycle(read_texts(options.reviews)[0]), 2048))
    ]
    vectors = np.random.default_rng(0).standard_normal((2048, 1536), dtype=np.float32)
    write = min(
        timed(lambda: embeddings_body(vectors, model=ADA, n_tokens=1, encoding_format=EncodingFormat.BASE64))
        for _ in range(5)
    )
    floats = min(
        timed(lambda: embeddings_body(vectors, model=ADA, n_tokens=1, encoding_format=EncodingFormat.FLOAT))
        for _ in range(3)
    )
    with umekomi_server() as (port, _):
        ask = [http(texts, ADA)]
        left = iter(ask * 3)
        asyncio.run(drive(port, lambda: http(["warm"], ADA), 1, iter([True, False]).__next__))
        seen = asyncio.run(drive(port, lambda: next(left), 1, iter([True, True, False]).__next__))
    took = min(seconds for _, seconds in seen)
    print(
        f"\nWriting 2,048 x 1,536 as base64 takes {1000 * write:.0f} ms, {write / took:.1%} of a request of 2,048 short texts "
        f"({took:.2f} s); as JSON numbers {1000 * floats:.0f} ms."
    )


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def lone(options: argparse.Namespace) -> None:
    """What a client that asks one short text at a time waits for, beside the library's own call: medians, in turns."""
    short, _ = read_texts(options.reviews)
    print(
        "\n| one short text at a time | by HTTP, p50 ms | by the library, p50 ms | quotient |\n| --- | ---: | ---: | ---: |"
    )
    with umekomi_server() as (port, _):
        for model in (MODEL, ADA):

            def one(number: int, model: str = model) -> bytes:
                return http([f"{short[number % len(short)]} {number}"], model)

            served, called = [], []
            for _ in range(3):
                served.append(measure(port, one, 1, options.seconds)[1])
                called.append(in_process(short, 1, options.seconds, model)[1])
            there, here = statistics.median(served), statistics.median(called)
            print(f"| {model} | {there:.2f} | {here:.2f} | {there / here:.2f} |", flush=True)


# ---------------------------------------------------------------- the long runs


def memory(options: argparse.Namespace) -> None:
    """Memory over many requests; by default of the model without meaning: it is the server that is looked at."""
    short, _ = read_texts(options.reviews)
    with umekomi_server() as (port, pid):
        numbers = itertools.count()

        def one() -> bytes:
            number = next(numbers)
            return http([f"{short[number % len(short)]} {number}"], options.model)

        def run(count: int) -> None:
            left = itertools.count(count, -1)
            seen = asyncio.run(drive(port, one, 32, lambda: next(left) > 0))
            if {status for status, _ in seen} != {200}:
                raise SystemExit("not every answer was 200")

        run(options.requests // 10)  # until all that is made once is made
        print(f"\n| requests to {options.model} | resident MiB |\n| ---: | ---: |")
        first = resident(pid)
        print(f"| 0 | {first:.1f} |")
        for fifth in range(1, 6):
            run(options.requests // 5)
            print(f"| {fifth * options.requests // 5:,} | {resident(pid):.1f} |", flush=True)
        print(f"\nChange over {options.requests:,} requests: {resident(pid) / first - 1:+.1%}.")


def overload(options: argparse.Namespace) -> None:
    with umekomi_server() as (port, pid):
        _overload(port, pid, read_texts(options.reviews)[1], options)


def _overload(port: int, pid: int, texts: list[str], options: argparse.Namespace) -> None:
    """Ten times what the server can do, for a minute, whether it answers or not."""

    def hundred(number: int) -> bytes:
        return http([f"{texts[(number * 100 + n) % len(texts)]} {number * 100 + n}" for n in range(100)])

    capacity, _, _ = measure(port, hundred, 16, 5)
    lone = measure(port, lambda number: http([f"lone {number}"]), 1, 2)[1]
    rate = 10 * capacity
    prepared = [hundred(number) for number in range(2000)]
    before = resident(pid)
    peak = before

    async def storm() -> tuple[list[tuple[int, float]], int]:
        nonlocal peak
        seen: list[tuple[int, float]] = []
        loop = asyncio.get_running_loop()
        ends, sent = [], 0
        began = time.perf_counter()
        while (now := time.perf_counter() - began) < options.overload:
            while sent < now * rate:
                once = iter([True, False])
                request = prepared[sent % len(prepared)]
                _, protocol = await loop.create_connection(
                    lambda request=request, once=once: Connection(lambda: request, once.__next__, seen),
                    "127.0.0.1",
                    port,
                )
                ends.append(protocol.done)
                sent += 1
            peak = max(peak, resident(pid))
            await asyncio.sleep(0.01)
        asked = time.perf_counter()
        status = 0
        while status != 200:
            ((status, _),) = await drive(port, lambda: http(["back again?"]), 1, iter([True, False]).__next__)
        back = time.perf_counter() - asked
        print(f"\nA lone query was answered {back:.2f} s after the storm ({lone:.1f} ms before it).", flush=True)
        await asyncio.gather(*ends)
        print(f"What had been taken was all answered {time.perf_counter() - asked:.1f} s after it.")
        return seen, sent

    seen, sent = asyncio.run(storm())
    counts = {status: sum(one == status for one, _ in seen) for status in sorted({status for status, _ in seen})}
    print(
        f"Capacity {capacity:.1f} requests of 100 texts a second; sent {rate:.0f} a second for {options.overload:.0f} s."
    )
    print(f"Requests sent: {sent:,}; answers by status: {counts}; without an answer: {sent - len(seen)}.")
    print(f"Resident memory before {before:.0f} MiB, at most {peak:.0f} MiB, after {resident(pid):.0f} MiB.")
    again = measure(port, lambda number: http([f"lone again {number}"]), 1, 2)[1]
    print(f"A lone query's p50: {lone:.1f} ms before, {again:.1f} ms after.")


def resident(pid: int) -> float:
    """MiB of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no memory figure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the command infinity_emb")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each cell of the table")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--only", choices=["lone", "memory", "overload", "serialisation"], help="instead of the table")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--model", default="umekomi-fake", help="what --only memory asks")
    parser.add_argument("--overload", type=float, default=60.0, help="seconds")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    default = Path(__file__).parents[2] / "shared" / "data" / "fine_food_reviews_1k.csv"
    parser.add_argument("--reviews", type=Path, default=default)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    parts = {"lone": lone, "memory": memory, "overload": overload, "serialisation": serialisation}
    for part in (parts[options.only],) if options.only else (compare, serialisation):
        part(options)


if __name__ == "__main__":
    main()
