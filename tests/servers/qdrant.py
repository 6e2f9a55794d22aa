"""A stand-in for a Qdrant server that validates requests, and stores and searches rows.

Qdrant is not available as a Python package. Requests are validated by the models in qdrant-client, which Qdrant
generates from its OpenAPI description; unknown fields are rejected. The local mode of qdrant-client stores and searches
the rows. The tests therefore verify the requests and the parsing of responses, not the server. With
UMEKOMI_TEST_QDRANT_URL, the same tests use a real server.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.process import Server, free_port, listens

VERSION = "1.16.0"
MAX_BYTES = 32 << 20
_QUERY = {"wait", "timeout", "consistency", "ordering", "fail_on_optimizer_error"}
_PATH = re.compile(r'([A-Za-z0-9_-]+|"[^"]+")(\[\d*\])*(\.([A-Za-z0-9_-]+|"[^"]+")(\[\d*\])*)*')


@contextmanager
def serve(folder: Path, *, api_key: str = "") -> Iterator[Server]:
    """Start the stand-in in another process."""
    folder.mkdir(parents=True)
    port = free_port()
    command = [sys.executable, "-m", "tests.servers.qdrant", str(port), api_key]
    server = Server(f"qdrant://127.0.0.1:{port}", command, lambda: listens(port), folder / "log")
    server.start()
    try:
        yield server
    finally:
        server.kill()


class ApiError(Exception):
    """An error response of the server."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The part of Qdrant's REST API that the store uses."""

    def __init__(self) -> None:
        from qdrant_client import QdrantClient, models

        self.models = models
        self.client = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self.schemas: dict[str, dict[str, str]] = {}
        self.requests: dict[str, Any] = {}
        self.routes: list[tuple[str, str, Callable[..., Any], Any]] = [
            ("GET", "/collections", self.collections, None),
            ("GET", "/collections/{}", self.collection, None),
            ("GET", "/collections/{}/exists", self.exists, None),
            ("PUT", "/collections/{}", self.create, models.CreateCollection),
            ("DELETE", "/collections/{}", self.drop, None),
            ("PUT", "/collections/{}/index", self.index, models.CreateFieldIndex),
            ("PUT", "/collections/{}/points", self.upsert, models.PointInsertOperations),
            ("POST", "/collections/{}/points", self.retrieve, models.PointRequest),
            ("POST", "/collections/{}/points/delete", self.delete, models.PointsSelector),
            ("POST", "/collections/{}/points/query/batch", self.query, models.QueryRequestBatch),
            ("POST", "/collections/{}/points/query", self.query_one, models.QueryRequest),
            ("POST", "/collections/{}/points/scroll", self.scroll, models.ScrollRequest),
            ("POST", "/collections/{}/points/count", self.count, models.CountRequest),
        ]

    def handle(self, method: str, path: str, body: bytes) -> Any:
        from pydantic import TypeAdapter, ValidationError

        if len(body) > MAX_BYTES:
            raise ApiError(413, "Payload too large")
        for verb, pattern, call, model in self.routes:
            match = re.fullmatch(pattern.replace("{}", "([^/]+)"), path)
            if match and verb == method:
                names = [unquote(name) for name in match.groups()]
                if any(not re.fullmatch(r"[^<>:\"/\\|?*\0]{1,255}", name) for name in names):
                    raise ApiError(422, f"Validation error: {names}")
                if model is None:
                    return call(*names)
                try:
                    request = TypeAdapter(model).validate_json(body, strict=False)
                except ValidationError as error:
                    raise ApiError(400, f"Format error in JSON body: {error}") from error
                return call(*names, request)
        raise ApiError(404, f"{method} {path}")

    def _require_collection(self, name: str) -> None:
        if not self.client.collection_exists(name):
            raise ApiError(404, f"Not found: Collection `{name}` doesn't exist!")

    def collections(self) -> Any:
        return self.client.get_collections()

    def exists(self, name: str) -> Any:
        return {"exists": self.client.collection_exists(name)}

    def collection(self, name: str) -> Any:
        self._require_collection(name)
        about = self.client.get_collection(name)
        schema = {
            path: self.models.PayloadIndexInfo(data_type=data_type, points=0)
            for path, data_type in self.schemas.get(name, {}).items()
        }
        creation = self.requests[name]
        numbers = {"shard_number": creation.shard_number or 1, "replication_factor": creation.replication_factor or 1}
        params = about.config.params.model_copy(update=numbers)
        config = about.config.model_copy(update={"params": params})
        return about.model_copy(update={"payload_schema": schema, "config": config})

    def create(self, name: str, request: Any) -> bool:
        if self.client.collection_exists(name):
            raise ApiError(409, f"Wrong input: Collection `{name}` already exists!")
        size = request.vectors.size
        if not 1 <= size <= 65_536:
            raise ApiError(422, f"Validation error: vectors.size {size}")
        self.client.create_collection(
            name, request.vectors, sparse_vectors_config=request.sparse_vectors, metadata=request.metadata
        )
        self.requests[name] = request
        return True

    def drop(self, name: str) -> bool:
        self.schemas.pop(name, None)
        return self.client.delete_collection(name)

    def index(self, name: str, request: Any) -> Any:
        self._require_collection(name)
        _check_path(request.field_name)
        self.schemas.setdefault(name, {})[request.field_name.strip('"')] = request.field_schema
        return _completed()

    def upsert(self, name: str, request: Any) -> Any:
        self._require_collection(name)
        self.client.upsert(name, request.points)
        return _completed()

    def retrieve(self, name: str, request: Any) -> Any:
        self._require_collection(name)
        return self.client.retrieve(name, request.ids, request.with_payload, request.with_vector or False)

    def delete(self, name: str, request: Any) -> Any:
        self._require_collection(name)
        self.client.delete(name, request)
        return _completed()

    def query(self, name: str, request: Any) -> Any:
        self._require_collection(name)
        for search in request.searches:
            _check_filter(search.filter)
            if search.limit is not None and search.limit < 1:
                raise ApiError(422, "limit: value must be 1 or larger")
        return self.client.query_batch_points(name, request.searches)

    def query_one(self, name: str, request: Any) -> Any:
        return self.query(name, self.models.QueryRequestBatch(searches=[request]))[0]

    def scroll(self, name: str, request: Any) -> Any:
        self._require_collection(name)
        _check_filter(request.filter)
        points, offset = self.client.scroll(
            name,
            request.filter,
            request.limit,
            offset=request.offset,
            with_payload=request.with_payload,
            with_vectors=request.with_vector,
        )
        return {"points": points, "next_page_offset": offset}

    def count(self, name: str, request: Any) -> Any:
        self._require_collection(name)
        _check_filter(request.filter)
        return self.client.count(name, request.filter, exact=True)


def _completed() -> dict[str, object]:
    return {"operation_id": 1, "status": "completed"}


def _check_path(path: str) -> None:
    if not _PATH.fullmatch(path):
        raise ApiError(400, f"Invalid JSON path: {path}")


def _check_filter(conditions: Any) -> None:
    """Check the paths in a filter, which the models do not validate."""
    for part in ("must", "should", "must_not"):
        group = getattr(conditions, part, None) or []
        for condition in group if isinstance(group, list) else [group]:
            key = getattr(condition, "key", None) or getattr(getattr(condition, "is_empty", None), "key", None)
            if key is not None:
                _check_path(key)
            _check_filter(condition)


class Handler(BaseHTTPRequestHandler):
    """HTTP handler that runs one request at a time, because the local mode is not thread-safe."""

    protocol_version = "HTTP/1.1"
    api: Api
    api_key = ""
    lock = threading.Lock()

    def _serve(self) -> None:
        from pydantic_core import to_json

        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        status, result, message = 200, None, "ok"
        try:
            if self.api_key and self.headers.get("api-key") != self.api_key:
                raise ApiError(401, "Must provide an API key or an Authorization bearer token")
            if set(parse_qs(url.query)) - _QUERY:
                raise ApiError(400, f"unknown parameters: {url.query}")
            if url.path == "/" and self.command == "GET":
                self._respond(200, json.dumps({"title": "qdrant - vector search engine", "version": VERSION}).encode())
                return
            with self.lock:
                result = self.api.handle(self.command, url.path, body)
        except ApiError as error:
            status, message = error.status, str(error)
        except Exception as error:
            status, message = 500, f"{type(error).__name__}: {error}"
        shown: Any = message if status == 200 else {"error": message}
        if status >= 400:
            print(status, self.command, self.path, message[:500], file=sys.stderr, flush=True)
        self._respond(status, to_json({"result": result, "status": shown, "time": 0.001}))

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's own names

    def _respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    warnings.simplefilter("ignore")
    port, Handler.api_key = sys.argv[1:3]
    Handler.api = Api()
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
