"""A stand-in for the Pinecone service that validates requests, and stores and searches rows.

Pinecone is a hosted service, and there is no server to install. The client has no machine-readable description of the
API (version 2026-07). The keys, types and limits that are checked here come from the client's code and documentation.
Like the service, the stand-in makes writes visible some time after it acknowledged them, and returns the positions of
its log. The tests therefore verify the requests and the parsing of responses, not the service. With
UMEKOMI_TEST_PINECONE_API_KEY, the same tests use the real service.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from tests.servers.process import Server, free_port, listens

KEY = "stand-in"
LAG_S = 0.02
MAX_BYTES = 2 << 20
MAX_METADATA_BYTES = 40 << 10
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda a, b: a > b, "$gte": lambda a, b: a >= b, "$lt": lambda a, b: a < b, "$lte": lambda a, b: a <= b,
}  # fmt: skip


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Start the stand-in in another process."""
    folder.mkdir(parents=True)
    port = free_port()
    command = [sys.executable, "-m", "tests.servers.pinecone", str(port)]
    url = f"pinecone://?host=http://127.0.0.1:{port}"
    server = Server(url, command, lambda: listens(port), folder / "log")
    server.start()
    try:
        yield server
    finally:
        server.kill()


class ApiError(Exception):
    """An error response of the service."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_keys(data: Any, types: dict[str, Any], required: tuple[str, ...] = ()) -> None:
    """Raise ApiError for unknown keys, for values of other types, and for missing keys."""
    for key, value in data.items():
        if key not in types or not isinstance(value, types[key]):
            raise ApiError(400, f"{key}={str(value)[:60]} is not part of the API")
    missing = [key for key in required if key not in data]
    if missing:
        raise ApiError(400, f"{missing} are missing")


class Index:
    """An index: a log of writes, and the rows that reads see."""

    def __init__(self, request: dict[str, Any]) -> None:
        fields = request["schema"]["fields"]
        check_keys(request, {"name": str, "schema": dict, "deployment": dict, "tags": dict, "deletion_protection": str})
        check_keys(fields, {"_values": dict}, ("_values",))
        check_keys(fields["_values"], {"type": str, "dimension": int, "metric": str}, ("type", "dimension", "metric"))
        check_keys(request["deployment"], {"deployment_type": str, "cloud": str, "region": str}, ("deployment_type",))
        self.request, self.dims = request, fields["_values"]["dimension"]
        if not 1 <= self.dims <= 20_000 or fields["_values"]["type"] != "dense_vector":
            raise ApiError(400, f"dimension {self.dims}")
        self.log: list[tuple[float, str, list[dict[str, Any]], list[str]]] = []
        #: Number of writes that reads see.
        self.seen = 0
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        self.routes: dict[tuple[str, str], Callable[[Any], Any]] = {
            ("POST", "/vectors/upsert"): self.upsert,
            ("POST", "/vectors/delete"): self.delete,
            ("POST", "/query"): self.query,
            ("GET", "/vectors/fetch"): self.fetch,
            ("POST", "/vectors/fetch_by_metadata"): self.fetch_by_metadata,
            ("GET", "/vectors/list"): self.list,
            ("POST", "/describe_index_stats"): self.stats,
        }
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(self.handle))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def describe(self) -> dict[str, Any]:
        host = f"http://127.0.0.1:{self.server.server_address[1]}"
        return {
            "deletion_protection": "disabled",
            **self.request,
            "status": {"ready": True, "state": "Ready"},
            "host": host,
        }

    def handle(self, method: str, path: str, request: Any) -> tuple[Any, dict[str, str]]:
        if (method, path) not in self.routes:
            raise ApiError(404, f"{method} {path}")
        while self.seen < len(self.log) and self.log[self.seen][0] + LAG_S < time.monotonic():
            _, namespace, written, deleted = self.log[self.seen]
            rows = self.rows.setdefault(namespace, {})
            rows.update({row["id"]: row for row in written})
            for key in deleted:
                rows.pop(key, None)
            self.seen += 1
        response = self.routes[method, path](request)
        if path.endswith(("upsert", "delete")):
            return response, {"x-pinecone-request-lsn": str(len(self.log))}
        return response, {"x-pinecone-max-indexed-lsn": str(self.seen)} if path == "/query" else {}

    def upsert(self, request: Any) -> Any:
        check_keys(request, {"vectors": list, "namespace": str}, ("vectors",))
        if not 1 <= len(request["vectors"]) <= 1000:
            raise ApiError(400, f"{len(request['vectors'])} vectors")
        for row in request["vectors"]:
            check_keys(row, {"id": str, "values": list, "metadata": dict}, ("id", "values"))
            if not 1 <= len(row["id"]) <= 512 or not row["id"].isascii():
                raise ApiError(400, f"id {row['id'][:60]}")
            if len(row["values"]) != self.dims or not any(row["values"]):
                raise ApiError(400, f"Vector dimension {len(row['values'])} does not match {self.dims}")
            metadata = row.get("metadata", {})
            if len(json.dumps(metadata, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
                raise ApiError(400, "metadata size exceeds the limit of 40960 bytes per vector")
            for key, value in metadata.items():
                if key.startswith("$") or not isinstance(value, str | int | float):
                    raise ApiError(400, f"metadata {key}={value}")
                metadata[key] = float(value) if type(value) is int else value
        self.log.append((time.monotonic(), request.get("namespace", ""), request["vectors"], []))
        return {"upsertedCount": len(request["vectors"])}

    def delete(self, request: Any) -> Any:
        check_keys(request, {"ids": list, "namespace": str}, ("ids",))
        if not 1 <= len(request["ids"]) <= 1000:
            raise ApiError(400, f"{len(request['ids'])} ids")
        self.log.append((time.monotonic(), request.get("namespace", ""), [], request["ids"]))
        return {}

    def query(self, request: Any) -> Any:
        types = {
            "topK": int,
            "vector": list,
            "namespace": str,
            "filter": dict,
            "includeValues": bool,
            "includeMetadata": bool,
        }
        check_keys(request, types, ("topK", "vector"))
        if not 1 <= request["topK"] <= 10_000 or len(request["vector"]) != self.dims:
            raise ApiError(400, f"topK {request['topK']}, {len(request['vector'])} dimensions")
        rows = self.find_matches(request)
        if not rows:
            return {"matches": [], "namespace": request.get("namespace", "")}
        matrix = np.array([row["values"] for row in rows])
        vector = np.array(request["vector"])
        scores = matrix @ vector / np.linalg.norm(matrix, axis=1) / np.linalg.norm(vector)
        order = np.argsort(-scores, kind="stable")[: request["topK"]]
        returned_keys = {"id", *(["metadata"] if request.get("includeMetadata") else [])}
        matches = [
            {**{key: value for key, value in rows[row].items() if key in returned_keys}, "score": float(scores[row])}
            for row in order
        ]
        return {"matches": matches, "namespace": request.get("namespace", "")}

    def find_matches(self, request: Any) -> list[dict[str, Any]]:
        rows = self.rows.get(request.get("namespace", ""), {})
        where = request.get("filter")
        return [rows[key] for key in sorted(rows) if where is None or matches(where, rows[key].get("metadata", {}))]

    def fetch(self, request: Any) -> Any:
        check_keys(request, {"ids": list, "namespace": list}, ("ids",))
        if len(request["ids"]) > 1000:
            raise ApiError(400, "too many ids")
        rows = self.rows.get(request.get("namespace", [""])[0], {})
        return {"vectors": {key: rows[key] for key in request["ids"] if key in rows}, "namespace": ""}

    def fetch_by_metadata(self, request: Any) -> Any:
        check_keys(request, {"filter": dict, "namespace": str, "limit": int, "paginationToken": str}, ("filter",))
        rows = self.find_matches(request)
        start, size = int(request.get("paginationToken", 0)), request.get("limit", 100)
        next_page = {"pagination": {"next": str(start + size)}} if start + size < len(rows) else {}
        return {"vectors": {row["id"]: row for row in rows[start : start + size]}, "namespace": "", **next_page}

    def list(self, request: Any) -> Any:
        check_keys(request, {"limit": list, "paginationToken": list, "namespace": list, "prefix": list})
        rows = sorted(self.rows.get(request.get("namespace", [""])[0], {}))
        start, size = int(request.get("paginationToken", ["0"])[0]), int(request.get("limit", ["100"])[0])
        if not 1 <= size <= 100:
            raise ApiError(400, f"limit {size}")
        next_page = {"pagination": {"next": str(start + size)}} if start + size < len(rows) else {}
        return {"vectors": [{"id": key} for key in rows[start : start + size]], "namespace": "", **next_page}

    def stats(self, request: Any) -> Any:
        check_keys(request or {}, {})
        namespaces = {name: {"vectorCount": len(rows)} for name, rows in self.rows.items()}
        return {"namespaces": namespaces, "dimension": self.dims, "totalVectorCount": sum(map(len, self.rows.values()))}


def matches(where: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Return whether a filter matches. ``$ne`` and ``$nin`` also match rows without the key."""
    return all(_matches_condition(key, value, metadata) for key, value in where.items())


def _matches_condition(key: str, value: Any, metadata: dict[str, Any]) -> bool:
    if key in ("$and", "$or"):
        if not isinstance(value, list) or not value:
            raise ApiError(400, f"{key} needs a list")
        return (all if key == "$and" else any)([matches(part, metadata) for part in value])
    if key.startswith("$") or not isinstance(value, dict):
        raise ApiError(400, f"filter {key}")
    ((operator, operand),) = value.items()
    stored = metadata.get(key)

    def equals_stored(other: Any) -> bool:
        # Python considers 1 and True equal.
        return isinstance(other, bool) is isinstance(stored, bool) and other == stored

    match operator:
        case "$exists":
            return (stored is not None) is operand
        case "$eq":
            return equals_stored(operand)
        case "$ne":
            return not equals_stored(operand)
        case "$in" | "$nin":
            return any(map(equals_stored, operand)) is (operator == "$in")
        case _ if operator in _COMPARE:
            if isinstance(operand, bool | str):
                raise ApiError(400, f"{operator} takes numbers only")
            return isinstance(stored, float) and _COMPARE[operator](stored, operand)
    raise ApiError(400, f"filter operator {operator}")


INDEXES: dict[str, Index] = {}


def handle_control_request(method: str, path: str, request: Any) -> tuple[Any, dict[str, str]]:
    """Handle a request of the control plane."""
    name = unquote(path.rpartition("/")[2])
    if path == "/indexes" and method == "GET":
        return {"indexes": [index.describe() for index in INDEXES.values()]}, {}
    if path == "/indexes" and method == "POST":
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?", request["name"]):
            raise ApiError(400, f"name {request['name']}")
        if request["name"] in INDEXES:
            raise ApiError(409, "Resource already exists")
        INDEXES[request["name"]] = Index(request)
        return INDEXES[request["name"]].describe(), {}
    if path != f"/indexes/{name}" or name not in INDEXES:
        raise ApiError(404, f"Resource {name} not found")
    if method == "GET":
        return INDEXES[name].describe(), {}
    if method == "DELETE":
        threading.Thread(target=INDEXES.pop(name).server.shutdown).start()
        return {}, {}
    raise ApiError(404, f"{method} {path}")


def make_handler(handle: Callable[[str, str, Any], tuple[Any, dict[str, str]]]) -> type[BaseHTTPRequestHandler]:
    """Return an HTTP handler for the requests of a plane."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            headers: dict[str, str] = {}
            try:
                if self.headers.get("Api-Key") != KEY:
                    raise ApiError(401, "Invalid API Key")
                if not self.headers.get("X-Pinecone-Api-Version"):
                    raise ApiError(400, "no API version")
                if len(body) > MAX_BYTES:
                    raise ApiError(400, f"message length too large: {len(body)} bytes")
                request = parse_qs(url.query) if self.command == "GET" else json.loads(body or b"{}")
                with lock:
                    data, headers = handle(self.command, url.path, request)
                status = 200
            except ApiError as error:
                status, data = (
                    error.status,
                    {"error": {"code": "REFUSED", "message": str(error)}, "status": error.status},
                )
                print(self.command, self.path[:200], error, file=sys.stderr, flush=True)
            text = json.dumps(data).encode()
            self.send_response(status)
            for key, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(text))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's own names

        def log_message(self, *_: object) -> None:
            pass

    return Handler


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), make_handler(handle_control_request)).serve_forever()
