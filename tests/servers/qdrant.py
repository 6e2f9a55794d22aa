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


class RefusedError(Exception):
    """An error response of the server."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Api:
    """The part of Qdrant's REST API that the store uses."""

    def __init__(self) -> None:
        from qdrant_client import QdrantClient, models

        self.models = models
        self.client = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self.schemas: dict[str, dict[str, str]] = {}
        self.made: dict[str, Any] = {}
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
            ("POST", "/collections/{}/points/scroll", self.scroll, models.ScrollRequest),
            ("POST", "/collections/{}/points/count", self.count, models.CountRequest),
        ]

    def answer(self, method: str, path: str, body: bytes) -> Any:
        from pydantic import TypeAdapter, ValidationError

        if len(body) > MAX_BYTES:
            raise RefusedError(413, "Payload too large")
        for verb, pattern, call, model in self.routes:
            match = re.fullmatch(pattern.replace("{}", "([^/]+)"), path)
            if match and verb == method:
                names = [unquote(name) for name in match.groups()]
                if any(not re.fullmatch(r"[^<>:\"/\\|?*\0]{1,255}", name) for name in names):
                    raise RefusedError(422, f"Validation error: {names}")
                if model is None:
                    return call(*names)
                try:
                    asked = TypeAdapter(model).validate_json(body, strict=False)
                except ValidationError as error:
                    raise RefusedError(400, f"Format error in JSON body: {error}") from error
                return call(*names, asked)
        raise RefusedError(404, f"{method} {path}")

    def _there(self, name: str) -> None:
        if not self.client.collection_exists(name):
            raise RefusedError(404, f"Not found: Collection `{name}` doesn't exist!")

    def collections(self) -> Any:
        return self.client.get_collections()

    def exists(self, name: str) -> Any:
        return {"exists": self.client.collection_exists(name)}

    def collection(self, name: str) -> Any:
        self._there(name)
        about = self.client.get_collection(name)
        schema = {
            path: self.models.PayloadIndexInfo(data_type=kind, points=0)
            for path, kind in self.schemas.get(name, {}).items()
        }
        made = self.made[name]
        told = {"shard_number": made.shard_number or 1, "replication_factor": made.replication_factor or 1}
        params = about.config.params.model_copy(update=told)
        config = about.config.model_copy(update={"params": params})
        return about.model_copy(update={"payload_schema": schema, "config": config})

    def create(self, name: str, asked: Any) -> bool:
        if self.client.collection_exists(name):
            raise RefusedError(409, f"Wrong input: Collection `{name}` already exists!")
        size = asked.vectors.size
        if not 1 <= size <= 65_536:
            raise RefusedError(422, f"Validation error: vectors.size {size}")
        self.client.create_collection(name, asked.vectors, metadata=asked.metadata)
        self.made[name] = asked
        return True

    def drop(self, name: str) -> bool:
        self.schemas.pop(name, None)
        return self.client.delete_collection(name)

    def index(self, name: str, asked: Any) -> Any:
        self._there(name)
        _check_path(asked.field_name)
        self.schemas.setdefault(name, {})[asked.field_name.strip('"')] = asked.field_schema
        return _done()

    def upsert(self, name: str, asked: Any) -> Any:
        self._there(name)
        self.client.upsert(name, asked.points)
        return _done()

    def retrieve(self, name: str, asked: Any) -> Any:
        self._there(name)
        return self.client.retrieve(name, asked.ids, asked.with_payload, asked.with_vector or False)

    def delete(self, name: str, asked: Any) -> Any:
        self._there(name)
        self.client.delete(name, asked)
        return _done()

    def query(self, name: str, asked: Any) -> Any:
        self._there(name)
        for search in asked.searches:
            _check_filter(search.filter)
            if search.limit is not None and search.limit < 1:
                raise RefusedError(422, "limit: value must be 1 or larger")
        return self.client.query_batch_points(name, asked.searches)

    def scroll(self, name: str, asked: Any) -> Any:
        self._there(name)
        _check_filter(asked.filter)
        points, offset = self.client.scroll(
            name,
            asked.filter,
            asked.limit,
            offset=asked.offset,
            with_payload=asked.with_payload,
            with_vectors=asked.with_vector,
        )
        return {"points": points, "next_page_offset": offset}

    def count(self, name: str, asked: Any) -> Any:
        self._there(name)
        _check_filter(asked.filter)
        return self.client.count(name, asked.filter, exact=True)


def _done() -> dict[str, object]:
    return {"operation_id": 1, "status": "completed"}


def _check_path(path: str) -> None:
    if not _PATH.fullmatch(path):
        raise RefusedError(400, f"Invalid JSON path: {path}")


def _check_filter(kept: Any) -> None:
    """Check the paths in a filter, which the models do not validate."""
    for part in ("must", "should", "must_not"):
        found = getattr(kept, part, None) or []
        for condition in found if isinstance(found, list) else [found]:
            key = getattr(condition, "key", None) or getattr(getattr(condition, "is_empty", None), "key", None)
            if key is not None:
                _check_path(key)
            _check_filter(condition)


class Handler(BaseHTTPRequestHandler):
    """HTTP handler that runs one request at a time, because the local mode is not thread-safe."""

    protocol_version = "HTTP/1.1"
    api: Api
    api_key = ""
    turn = threading.Lock()

    def _serve(self) -> None:
        from pydantic_core import to_json

        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        status, result, said = 200, None, "ok"
        try:
            if self.api_key and self.headers.get("api-key") != self.api_key:
                raise RefusedError(401, "Must provide an API key or an Authorization bearer token")
            if set(parse_qs(url.query)) - _QUERY:
                raise RefusedError(400, f"unknown parameters: {url.query}")
            if url.path == "/" and self.command == "GET":
                self._say(200, json.dumps({"title": "qdrant - vector search engine", "version": VERSION}).encode())
                return
            with self.turn:
                result = self.api.answer(self.command, url.path, body)
        except RefusedError as refused:
            status, said = refused.status, str(refused)
        except Exception as error:
            status, said = 500, f"{type(error).__name__}: {error}"
        told: Any = said if status == 200 else {"error": said}
        if status >= 400:
            print(status, self.command, self.path, said[:500], file=sys.stderr, flush=True)
        self._say(status, to_json({"result": result, "status": told, "time": 0.001}))

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's own names

    def _say(self, status: int, body: bytes) -> None:
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
