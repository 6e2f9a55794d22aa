"""Speed of the server, compared with infinity-emb serving the same model (all-MiniLM-L6-v2).

    python3 -m venv .venv-peer && .venv-peer/bin/pip install -r benchmarks/infinity-requirements.txt
    .venv/bin/python benchmarks/serve.py --peer .venv-peer/bin/infinity_emb [--seconds 5] [--reviews FILE]
    .venv/bin/python benchmarks/serve.py --only memory          # memory after 100,000 requests to the fake model
    .venv/bin/python benchmarks/serve.py --only memory --model all-MiniLM-L6-v2 --requests 20000
    .venv/bin/python benchmarks/serve.py --only single          # one short text at a time, over HTTP and in the library
    .venv/bin/python benchmarks/serve.py --only cpu             # CPU time of the server per request, on a busy machine
    .venv/bin/python benchmarks/serve.py --only overload        # ten times the capacity for a minute
    .venv/bin/python benchmarks/serve.py --only serialization   # time to write a large response

Servers and client share the cores of one machine. The servers use two threads each and work one at a time; the client is a
separate process. Each connection sends its next request when the previous one is answered, or one second after a refusal (429). A
measurement ends at most 60 s after its scheduled end; requests that are still unanswered are reported and not counted. All texts
are different. Vectors are requested as base64, like in the official client.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import json
import os
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
from machine import describe_machine, describe_peak
from serve_client import MODEL, Connection, drive, encode_request, measure, time_limit
from umekomi import Embedder
from umekomi.catalog import Catalog, ModelCard, Part, load_catalog
from umekomi.serve.schemas.requests import EncodingFormat
from umekomi.serve.schemas.responses import embeddings_body

ADA = "text-embedding-ada-002"
THREADS = "2"
CLIENTS = (1, 8, 64, 256)


def catalog_with_minilm() -> Catalog:
    """Return the catalog with a model that consists of MiniLM only."""
    catalog = load_catalog()
    if MODEL in catalog.models:
        return catalog
    card = ModelCard(MODEL, 384, "cl100k_base", 8191, "MiniLM only.", (Part(MODEL, 1.0),), MODEL)
    return replace(catalog, models={**catalog.models, MODEL: card})


def serve() -> None:
    """Run the server with the models of the catalog and MiniLM."""
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
    """Start Umekomi's server; the context is its port and process id."""
    environment = {**os.environ, "UMEKOMI_THREADS": THREADS}
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            yield int(server.stdout.readline()), server.pid
        finally:
            server.terminate()


@contextmanager
def peer_server(command: str, folder: str) -> Iterator[tuple[int, int]]:
    """Start infinity-emb's server; the context is its port and process id."""
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
                        raise SystemExit("infinity-emb does not start") from None
            yield port, server.pid
        finally:
            server.terminate()


def read_texts(path: Path) -> tuple[list[str], list[str]]:
    """Return the titles of the reviews, and the first 30 words of each review."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["Summary"] for row in rows], [" ".join(row["Text"].split()[:30]) for row in rows]


def measure_library(
    texts: list[str], size: int, seconds: float, model: str = MODEL
) -> tuple[float, float, list[float]]:
    """Measure the library in a separate process: calls per second, the median time of a call in milliseconds, and the CPU time
    of each call in milliseconds."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import serve; serve.run_library()"
    parameters = json.dumps({"texts": texts, "size": size, "seconds": seconds, "model": model})
    environment = {**os.environ, "UMEKOMI_THREADS": THREADS}
    process = subprocess.run(
        [sys.executable, "-c", code], input=parameters, capture_output=True, text=True, env=environment
    )
    if process.returncode:
        raise SystemExit(process.stderr)
    rate, median, cpu_ms = json.loads(process.stdout)
    return rate, median, cpu_ms


def run_library() -> None:
    parameters = json.load(sys.stdin)
    texts, size = parameters["texts"], parameters["size"]
    embedder = Embedder(parameters["model"], catalog=catalog_with_minilm())
    numbers = itertools.count()
    times, cpu_ms = [], []
    for seconds in (1.0, parameters["seconds"]):
        times.clear()
        cpu_ms.clear()
        is_running = time_limit(seconds)
        while is_running():
            batch = [f"{texts[n % len(texts)]} {n}" for n in itertools.islice(numbers, size)]
            start, cpu_start = time.perf_counter(), time.process_time()
            embedder.embed(batch)
            times.append(time.perf_counter() - start)
            cpu_ms.append(1000 * (time.process_time() - cpu_start))
    print(json.dumps([len(times) / sum(times), 1000 * statistics.median(times), cpu_ms]))


def compare(options: argparse.Namespace) -> None:
    short, long = read_texts(options.reviews)

    def single(number: int) -> bytes:
        return encode_request([f"{short[number % len(short)]} {number}"])

    def hundred(number: int) -> bytes:
        return encode_request([f"{long[(number * 100 + n) % len(long)]} {number * 100 + n}" for n in range(100)])

    peer_name = "infinity-emb" if options.peer else "–"
    umekomi_columns = "Umekomi req/s | p50 ms | p99 ms | texts/s relative to the library | p50 relative to the library"
    print(f"\n| request | clients | {umekomi_columns} | {peer_name} req/s | p50 ms | p99 ms | speedup |")
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
                require_same_model(port, peer, short[:20])
            for name, make, texts, size in (("one short text", single, short, 1), ("100 texts", hundred, long, 100)):
                for clients in options.clients:
                    # The library is measured before each cell, because the load of the machine changes. For several clients it
                    # embeds lists of texts, which is the upper limit of what batching requests can achieve.
                    batch_size = 1 if clients == 1 else max(size, 64)
                    library, library_ms, _ = measure_library(texts, batch_size if size == 1 else size, options.seconds)
                    umekomi = measure(port, make, clients, options.seconds)
                    share = umekomi[0] * size / (library * (batch_size if size == 1 else size))
                    cells = [*(f"{value:.1f}" for value in umekomi), f"{share:.0%}"]
                    cells.append(f"{umekomi[1] / library_ms:.2f}" if clients == 1 else "")
                    if peer:
                        infinity = measure(peer, make, clients, options.seconds)
                        cells += [*(f"{value:.1f}" for value in infinity), f"{umekomi[0] / infinity[0]:.1f}"]
                    print(f"| {name} | {clients} | {' | '.join(cells)} |", flush=True)


def require_same_model(umekomi: int, peer: int, texts: list[str]) -> None:
    """End the program unless the servers on both ports return the same vectors."""
    vectors = []
    for port in (umekomi, peer):
        body = json.dumps({"model": MODEL, "input": texts}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/embeddings", body, {"Content-Type": "application/json"}
        )
        data = json.load(urllib.request.urlopen(request))["data"]
        vectors.append(np.array([row["embedding"] for row in data]))
    min_cosine = float((vectors[0] * vectors[1]).sum(axis=1).min())
    print(f"Minimum cosine between the vectors of the two servers: {min_cosine:.5f}", file=sys.stderr)
    if min_cosine < 0.999:
        raise SystemExit("the servers do not serve the same model")


def serialization(options: argparse.Namespace) -> None:
    """Print the time to write a large response, and its share of the whole request."""
    texts = [
        f"{text} {n}" for n, text in enumerate(itertools.islice(itertools.cycle(read_texts(options.reviews)[0]), 2048))
    ]
    vectors = np.random.default_rng(0).standard_normal((2048, 1536), dtype=np.float32)
    base64_s = min(
        measure_seconds(lambda: embeddings_body(vectors, model=ADA, n_tokens=1, encoding_format=EncodingFormat.BASE64))
        for _ in range(5)
    )
    float_s = min(
        measure_seconds(lambda: embeddings_body(vectors, model=ADA, n_tokens=1, encoding_format=EncodingFormat.FLOAT))
        for _ in range(3)
    )
    with umekomi_server() as (port, _):
        request = [encode_request(texts, ADA)]
        requests = iter(request * 3)
        asyncio.run(drive(port, lambda: encode_request(["warm"], ADA), 1, iter([True, False]).__next__))
        responses = asyncio.run(drive(port, lambda: next(requests), 1, iter([True, True, False]).__next__))
    request_s = min(seconds for _, seconds in responses)
    print(
        f"\nWriting 2,048 x 1,536 as base64 takes {1000 * base64_s:.0f} ms, {base64_s / request_s:.1%} of the request "
        f"({request_s:.2f} s for 2,048 short texts); as JSON numbers {1000 * float_s:.0f} ms."
    )


def measure_seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def single(options: argparse.Namespace) -> None:
    """Print the median latency of one short text at a time, over HTTP and in the library."""
    short, _ = read_texts(options.reviews)
    print("\n| one short text at a time | HTTP, p50 ms | library, p50 ms | ratio |\n| --- | ---: | ---: | ---: |")
    with umekomi_server() as (port, _):
        for model in (MODEL, ADA):

            def make_request(number: int, model: str = model) -> bytes:
                return encode_request([f"{short[number % len(short)]} {number}"], model)

            http_ms, library_ms = [], []
            for _ in range(3):
                http_ms.append(measure(port, make_request, 1, options.seconds)[1])
                library_ms.append(measure_library(short, 1, options.seconds, model)[1])
            http, library = statistics.median(http_ms), statistics.median(library_ms)
            print(f"| {model} | {http:.2f} | {library:.2f} | {http / library:.2f} |", flush=True)


def cpu(options: argparse.Namespace) -> None:
    """Print the CPU time of the server per request and of the library per text. Other work on the machine affects it little."""
    short, _ = read_texts(options.reviews)
    print(
        "\n| model | clients, or texts in a list | server, CPU ms per request: fastest, median | library, the same per text |"
    )
    print("| --- | ---: | ---: | ---: |")
    with umekomi_server() as (port, pid):
        for model in ("umekomi-fake", MODEL):

            def make_request(number: int, model: str = model) -> bytes:
                return encode_request([f"{short[number % len(short)]} {number}"], model)

            for clients in (1, 8, 64):
                measure(port, make_request, clients, 0.5)
                server_ms = []
                for _ in range(max(1, round(2 * options.seconds))):
                    before, numbers = cpu_seconds(pid), itertools.count()
                    responses = asyncio.run(
                        drive(port, lambda: make_request(next(numbers)), clients, time_limit(0.5))  # noqa: B023
                    )
                    server_ms.append(1000 * (cpu_seconds(pid) - before) / len(responses))
                library_ms = [each / clients for each in measure_library(short, clients, options.seconds, model)[2]]
                cells = [model, str(clients)]
                cells += [f"{min(each):.2f}, {statistics.median(each):.2f}" for each in (server_ms, library_ms)]
                print(f"| {' | '.join(cells)} |", flush=True)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def memory(options: argparse.Namespace) -> None:
    """Print the memory of the server after many requests, by default to the fake model."""
    short, _ = read_texts(options.reviews)
    with umekomi_server() as (port, pid):
        numbers = itertools.count()

        def make_request() -> bytes:
            number = next(numbers)
            return encode_request([f"{short[number % len(short)]} {number}"], options.model)

        def run(count: int) -> None:
            remaining = itertools.count(count, -1)
            responses = asyncio.run(drive(port, make_request, 32, lambda: next(remaining) > 0))
            if {status for status, _ in responses} != {200}:
                raise SystemExit("not all responses have status 200")

        run(options.requests // 10)  # allocates everything that is allocated only once
        print(f"\n| requests to {options.model} | resident MiB |\n| ---: | ---: |")
        first = resident_mebibytes(pid)
        print(f"| 0 | {first:.1f} |")
        for fifth in range(1, 6):
            run(options.requests // 5)
            print(f"| {fifth * options.requests // 5:,} | {resident_mebibytes(pid):.1f} |", flush=True)
        print(f"\nChange over {options.requests:,} requests: {resident_mebibytes(pid) / first - 1:+.1%}.")


def overload(options: argparse.Namespace) -> None:
    with umekomi_server() as (port, pid):
        _overload(port, pid, read_texts(options.reviews)[1], options)


def _overload(port: int, pid: int, texts: list[str], options: argparse.Namespace) -> None:
    """Send ten times as many requests as the server can answer, without waiting for responses."""

    def hundred(number: int) -> bytes:
        return encode_request([f"{texts[(number * 100 + n) % len(texts)]} {number * 100 + n}" for n in range(100)])

    capacity, _, _ = measure(port, hundred, 16, 5)
    single_ms = measure(port, lambda number: encode_request([f"single {number}"]), 1, 2)[1]
    rate = 10 * capacity
    prepared = [hundred(number) for number in range(2000)]
    before = resident_mebibytes(pid)
    peak = before

    async def send_requests() -> tuple[list[tuple[int, float]], int]:
        nonlocal peak
        responses: list[tuple[int, float]] = []
        loop = asyncio.get_running_loop()
        done, sent = [], 0
        start = time.perf_counter()
        while (now := time.perf_counter() - start) < options.overload:
            while sent < now * rate:
                once = iter([True, False])
                request = prepared[sent % len(prepared)]
                _, protocol = await loop.create_connection(
                    lambda request=request, once=once: Connection(lambda: request, once.__next__, responses),
                    "127.0.0.1",
                    port,
                )
                done.append(protocol.done)
                sent += 1
            peak = max(peak, resident_mebibytes(pid))
            await asyncio.sleep(0.01)
        end = time.perf_counter()
        status = 0
        while status != 200:
            ((status, _),) = await drive(port, lambda: encode_request(["recovered?"]), 1, iter([True, False]).__next__)
        recovery_s = time.perf_counter() - end
        print(
            f"\nA single text was answered {recovery_s:.2f} s after the overload (in {single_ms:.1f} ms before it).",
            flush=True,
        )
        await asyncio.gather(*done)
        print(f"All accepted requests were answered {time.perf_counter() - end:.1f} s after it.")
        return responses, sent

    responses, sent = asyncio.run(send_requests())
    counts = dict(sorted(Counter(status for status, _ in responses).items()))
    print(
        f"Capacity {capacity:.1f} requests of 100 texts per second; sent {rate:.0f} per second for {options.overload:.0f} s."
    )
    print(f"Requests sent: {sent:,}; responses by status: {counts}; without response: {sent - len(responses)}.")
    print(f"Resident memory {before:.0f} MiB before, at most {peak:.0f} MiB, after {resident_mebibytes(pid):.0f} MiB.")
    again = measure(port, lambda number: encode_request([f"single again {number}"]), 1, 2)[1]
    print(f"Median latency of a single text: {single_ms:.1f} ms before, {again:.1f} ms after.")


def resident_mebibytes(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no memory figure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="path of the command infinity_emb")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds per cell of the table")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument(
        "--only",
        choices=["single", "cpu", "memory", "overload", "serialization"],
        help="run this part instead of the table",
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--model", default="umekomi-fake", help="model of --only memory")
    parser.add_argument("--overload", type=float, default=60.0, help="duration in seconds")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    default = Path(__file__).parents[2] / "shared" / "data" / "fine_food_reviews_1k.csv"
    parser.add_argument("--reviews", type=Path, default=default)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    print(f"{describe_machine()}\n{describe_peak()}")
    parts = {"single": single, "cpu": cpu, "memory": memory, "overload": overload, "serialization": serialization}
    for part in (parts[options.only],) if options.only else (compare, serialization):
        part(options)


if __name__ == "__main__":
    main()
