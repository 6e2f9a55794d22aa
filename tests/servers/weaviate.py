"""A stand-in for a Weaviate server that validates requests, and stores and searches rows.

Weaviate is not available as a Python package. Requests for rows use gRPC with the messages of Weaviate's .proto files
in weaviate-client. Fields that are unknown, or that a vector store does not need, are rejected. Requests for
collections use HTTP, for which the client has no machine-readable description. Their allowed keys are listed below,
from Weaviate's documentation. Filters work as Weaviate documents them (``NotEqual`` also matches nulls, ``IsNull``
needs indexNullState). The tests therefore verify the requests and the parsing of responses, not the server. With
UMEKOMI_TEST_WEAVIATE_URL, the same tests use a real server.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from tests.servers.process import Server, free_port, listens

VERSION = "1.31.0"
MAX_BYTES = 10 << 20
MAX_RESULTS = 10_000
_CLASS_KEYS = {
    "class", "description", "properties", "vectorConfig", "invertedIndexConfig", "shardingConfig", "replicationConfig",
    "multiTenancyConfig", "vectorizer", "vectorIndexType", "vectorIndexConfig", "moduleConfig",
}  # fmt: skip
_PROPERTY_KEYS = {
    "name", "dataType", "description", "indexFilterable", "indexSearchable", "indexRangeFilters", "tokenization", "moduleConfig",
    "skip_vectorization", "vectorize_property_name", "vectorizePropertyName", "nestedProperties",
}  # fmt: skip
_HNSW_KEYS = {
    "distance", "efConstruction", "ef", "maxConnections", "quantizer", "cleanupIntervalSeconds", "dynamicEfFactor",
    "dynamicEfMax", "dynamicEfMin", "flatSearchCutoff", "filterStrategy", "skip", "vectorCacheMaxObjects", "pq", "bq", "sq", "rq",
    "skipDefaultQuantization",
}  # fmt: skip
_TYPES = {"text": str, "int": float, "number": float, "boolean": bool}


@contextmanager
def serve(folder: Path, *, api_key: str = "") -> Iterator[Server]:
    """Start the stand-in in another process."""
    folder.mkdir(parents=True)
    port, grpc_port = free_port(), free_port()
    command = [sys.executable, "-m", "tests.servers.weaviate", str(port), str(grpc_port), api_key]
    address = f"weaviate://127.0.0.1:{port}?grpc_port={grpc_port}"
    server = Server(address, command, lambda: listens(port) and listens(grpc_port), folder / "log")
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


class Table:
    """A class and its objects."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.types = {prop["name"]: prop["dataType"][0] for prop in config["properties"]}
        self.filterable = {prop["name"] for prop in config["properties"] if prop.get("indexFilterable", True)}
        self.has_null_state = config.get("invertedIndexConfig", {}).get("indexNullState", False)
        self.dims = 0
        self.rows: dict[uuid.UUID, tuple[dict[str, Any], np.ndarray[Any, Any]]] = {}


TABLES: dict[str, Table] = {}
LOCK = threading.RLock()


def create(config: dict[str, Any]) -> dict[str, Any]:
    """Handle ``POST /v1/schema``."""
    _check_keys(config, _CLASS_KEYS, "class")
    name = config["class"]
    if not re.fullmatch(r"[A-Z][_0-9A-Za-z]{0,255}", name):
        raise ApiError(422, f"'{name}' is not a valid class name")
    if name in TABLES:
        raise ApiError(422, f'class name "{name}" already exists')
    for prop in config["properties"]:
        _check_keys(prop, _PROPERTY_KEYS, "property")
        if not re.fullmatch(r"[_A-Za-z][_0-9A-Za-z]{0,230}", prop["name"]) or prop["name"] in (
            "id",
            "_id",
            "_additional",
        ):
            raise ApiError(422, f"'{prop['name']}' is not a valid property name")
        if prop["dataType"][0] not in _TYPES:
            raise ApiError(422, f"unknown data type {prop['dataType']}")
        if "tokenization" in prop and prop["dataType"] != ["text"] and prop["tokenization"]:
            raise ApiError(422, "tokenization is allowed for text only")
    for vectors in config["vectorConfig"].values():
        _check_keys(vectors, {"vectorizer", "vectorIndexType", "vectorIndexConfig"}, "vectorConfig")
        _check_keys(vectors.get("vectorIndexConfig", {}), _HNSW_KEYS, "vectorIndexConfig")
        if vectors["vectorIndexConfig"]["distance"] != "cosine" or set(vectors["vectorizer"]) != {"none"}:
            raise ApiError(422, "this stand-in supports only cosines of vectors in the request")
    TABLES[name] = Table(config)
    return config


def describe(name: str) -> dict[str, Any]:
    """Handle ``GET /v1/schema/{class}``: return the configuration of the class, with the server's defaults."""
    config = TABLES[name].config
    index_config = config.get("invertedIndexConfig", {})
    inverted = {
        "cleanupIntervalSeconds": 60,
        **index_config,
        "bm25": {"b": 0.75, "k1": 1.2, **index_config.get("bm25", {})},
        "stopwords": {"preset": "en", "additions": None, "removals": None, **index_config.get("stopwords", {})},
    }
    count = config.get("shardingConfig", {}).get("desiredCount", 1)
    sharding = {
        "virtualPerPhysical": 128, "desiredCount": count, "actualCount": count, "desiredVirtualCount": 128 * count,
        "actualVirtualCount": 128 * count, "key": "_id", "strategy": "hash", "function": "murmur3",
    }  # fmt: skip
    hnsw = {
        "cleanupIntervalSeconds": 300, "distance": "cosine", "dynamicEfMin": 100, "dynamicEfMax": 500, "dynamicEfFactor": 8,
        "ef": -1,
        "efConstruction": 128, "flatSearchCutoff": 40_000, "maxConnections": 32, "skip": False, "vectorCacheMaxObjects": 10**12,
    }  # fmt: skip
    properties = [
        {"indexFilterable": True, "indexSearchable": prop["dataType"] == ["text"], "indexRangeFilters": False, **prop}
        for prop in config["properties"]
    ]
    vectors = {
        key: {**value, "vectorIndexConfig": {**hnsw, **value.get("vectorIndexConfig", {})}}
        for key, value in config["vectorConfig"].items()
    }
    return {
        **config,
        "properties": properties,
        "vectorConfig": vectors,
        "invertedIndexConfig": inverted,
        "shardingConfig": sharding,
        "multiTenancyConfig": {"enabled": False},
        "replicationConfig": {"factor": 1, "asyncEnabled": False, **config.get("replicationConfig", {})},
    }


def _check_keys(data: dict[str, Any], accepted: set[str], location: str) -> None:
    unknown = set(data) - accepted
    if unknown:
        raise ApiError(422, f"unknown keys {sorted(unknown)} of {location}")


class Http(BaseHTTPRequestHandler):
    """HTTP handler for collections and for the requests of a connecting client."""

    protocol_version = "HTTP/1.1"
    api_key = ""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, data = 200, None
        try:
            if self.api_key and self.headers.get("Authorization") != f"Bearer {self.api_key}":
                raise ApiError(401, "anonymous access not enabled, please provide an auth scheme")
            with LOCK:
                data = self._handle(self.command, self.path.partition("?")[0], json.loads(body or b"null"))
        except ApiError as error:
            status, data = error.status, {"error": [{"message": str(error)}]}
            print(self.command, self.path, error, file=sys.stderr, flush=True)
        text = json.dumps(data).encode() if data is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's own names

    def _handle(self, method: str, path: str, body: Any) -> Any:
        name = path.rpartition("/")[2]
        match method, path:
            case "GET", "/v1/meta":
                return {
                    "version": VERSION,
                    "hostname": "http://stand-in",
                    "grpcMaxMessageSize": MAX_BYTES,
                    "modules": {},
                }
            case "GET", "/v1/.well-known/ready" | "/v1/.well-known/live":
                return {}
            case "GET", "/v1/.well-known/openid-configuration":
                raise ApiError(404, "no OIDC")
            case "GET", "/v1/schema":
                return {"classes": [describe(name) for name in TABLES]}
            case "POST", "/v1/schema":
                return create(body)
            case "GET", _ if path == f"/v1/schema/{name}":
                if name not in TABLES:
                    raise ApiError(404, "not found")
                return describe(name)
            case "DELETE", _ if path == f"/v1/schema/{name}":
                TABLES.pop(name, None)
                return {}
        raise ApiError(404, f"{method} {path}")

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    import grpc
    from google.protobuf.message import Message
    from google.protobuf.unknown_fields import UnknownFieldSet
    from weaviate.proto.v1.v6300.v1 import (
        aggregate_pb2,
        base_pb2,
        batch_delete_pb2,
        batch_pb2,
        health_weaviate_pb2,
        search_get_pb2,
    )

    def check(message: Message, supported: set[str]) -> None:
        """Raise ApiError for fields that the .proto files do not define or this stand-in does not support."""
        unsupported = {field.name for field, _ in message.ListFields()} - supported
        if unsupported or len(UnknownFieldSet(message)):
            raise ApiError(3, f"{message.DESCRIPTOR.name}: {unsupported or 'unknown fields'}")

    def get_table(name: str) -> Table:
        if name not in TABLES:
            raise ApiError(5, f"could not find class {name} in schema")
        return TABLES[name]

    operators = base_pb2.Filters.Operator

    def compile_filter(table: Table, filters: Any) -> Callable[[uuid.UUID, dict[str, Any]], bool]:
        check(filters, {
            "operator", "filters", "target", "value_text", "value_int", "value_boolean", "value_number", "value_text_array",
        })  # fmt: skip
        operator = operators.Name(filters.operator)
        if operator in ("OPERATOR_AND", "OPERATOR_OR"):
            parts = [compile_filter(table, part) for part in filters.filters]
            if not parts:
                raise ApiError(3, "no operands")
            return lambda key, row: (all if operator == "OPERATOR_AND" else any)(part(key, row) for part in parts)
        name, value_field = filters.target.property, filters.WhichOneof("test_value")
        if name == "_id":
            texts = [filters.value_text] if operator == "OPERATOR_EQUAL" else filters.value_text_array.values
            keys = {uuid.UUID(text) for text in texts}
            if operator not in ("OPERATOR_EQUAL", "OPERATOR_CONTAINS_ANY"):
                raise ApiError(3, f"{operator} of ids")
            return lambda key, row: key in keys
        if name not in table.filterable:
            raise ApiError(3, f"no filterable property {name}")
        if operator == "OPERATOR_IS_NULL":
            if not table.has_null_state:
                raise ApiError(3, "Nullstate must be indexed to be filterable!")
            return lambda key, row: (row.get(name) is None) is filters.value_boolean
        value_fields = {"text": "value_text", "int": "value_int", "number": "value_number", "boolean": "value_boolean"}
        if value_field != value_fields[table.types[name]]:
            raise ApiError(3, f"{name} holds {table.types[name]}, not {value_field}")
        value = getattr(filters, value_field)
        tests: dict[str, Callable[[Any], bool]] = {
            "OPERATOR_EQUAL": lambda x: x is not None and x == value,
            "OPERATOR_NOT_EQUAL": lambda x: x is None or x != value,
            "OPERATOR_LESS_THAN": lambda x: x is not None and x < value,
            "OPERATOR_LESS_THAN_EQUAL": lambda x: x is not None and x <= value,
            "OPERATOR_GREATER_THAN": lambda x: x is not None and x > value,
            "OPERATOR_GREATER_THAN_EQUAL": lambda x: x is not None and x >= value,
        }
        if operator not in tests:
            raise ApiError(3, f"operator {operator}")
        return lambda key, row: tests[operator](row.get(name))

    def find_matches(table: Table, request: Any) -> list[uuid.UUID]:
        if not request.HasField("filters"):
            return sorted(table.rows)
        is_match = compile_filter(table, request.filters)
        return sorted(key for key, (row, _) in table.rows.items() if is_match(key, row))

    def batch(request: Any) -> Any:
        check(request, {"objects", "consistency_level"})
        reply = batch_pb2.BatchObjectsReply()
        for index, item in enumerate(request.objects):
            check(item, {"uuid", "properties", "collection", "vectors", "vector_bytes"})
            check(item.properties, {"non_ref_properties"})
            table = get_table(item.collection)
            name, data = (
                ("", item.vector_bytes) if item.vector_bytes else (item.vectors[0].name, item.vectors[0].vector_bytes)
            )
            vector = np.frombuffer(data, "<f4")
            row = dict(item.properties.non_ref_properties)
            invalid = [name for name in row if not isinstance(row[name], _TYPES[table.types.get(name, "")])]
            if invalid or name not in ("", "default") or table.dims not in (0, len(vector)):
                reply.errors.add(index=index, error=f"invalid object: {invalid or len(vector)}")
                continue
            table.dims = len(vector)
            table.rows[uuid.UUID(item.uuid)] = row, vector
        return reply

    def search(request: Any) -> Any:
        check(request, {
            "collection", "properties", "metadata", "limit", "after", "filters", "near_vector", "consistency_level",
            "uses_123_api", "uses_125_api", "uses_127_api",
        })  # fmt: skip
        if request.limit + request.offset > MAX_RESULTS:
            raise ApiError(3, "query maximum results exceeded")
        table = get_table(request.collection)
        keys = find_matches(table, request)
        distances: dict[uuid.UUID, float] = {}
        if request.HasField("near_vector"):
            check(request.near_vector, {"vectors", "vector_bytes"})
            near = request.near_vector
            query = np.frombuffer(near.vector_bytes or near.vectors[0].vector_bytes, "<f4")
            if keys and len(query) != table.dims:
                raise ApiError(2, f"vector lengths don't match: {len(query)} vs {table.dims}")
            if keys:
                matrix = np.stack([table.rows[key][1] for key in keys])
                scores = 1 - matrix @ query / np.linalg.norm(matrix, axis=1) / np.linalg.norm(query)
                distances = dict(zip(keys, scores.tolist(), strict=True))
                keys = sorted(keys, key=lambda key: distances[key])
        elif request.after:
            if request.HasField("filters"):
                raise ApiError(3, "where cannot be set with after and limit parameters")
            keys = [key for key in keys if key > uuid.UUID(request.after)]
        reply = search_get_pb2.SearchReply(took=0.001)
        for key in keys[: request.limit or 10]:
            row, vector = table.rows[key]
            result = reply.results.add()
            result.metadata.id, result.metadata.id_as_bytes = str(key), key.bytes
            if request.metadata.distance and key in distances:
                result.metadata.distance, result.metadata.distance_present = distances[key], True
            if request.metadata.vector or request.metadata.vectors:
                result.metadata.vectors.add(
                    name="default", vector_bytes=struct.pack(f"<{len(vector)}f", *vector), type=1
                )
                result.metadata.vector_bytes = vector.tobytes()
            result.properties.target_collection = request.collection
            for name in request.properties.non_ref_properties:
                if name in row:
                    result.properties.non_ref_props.fields[name].text_value = row[name]
        return reply

    def delete(request: Any) -> Any:
        check(request, {"collection", "filters", "verbose", "dry_run", "consistency_level"})
        table = get_table(request.collection)
        deleted = find_matches(table, request)
        for key in deleted:
            del table.rows[key]
        return batch_delete_pb2.BatchDeleteReply(took=0.001, matches=len(deleted), successful=len(deleted))

    def aggregate(request: Any) -> Any:
        check(request, {"collection", "objects_count", "filters"})
        count = len(find_matches(get_table(request.collection), request))
        single = aggregate_pb2.AggregateReply.Single(objects_count=count)
        return aggregate_pb2.AggregateReply(took=0.001, single_result=single)

    def make_handler(call: Callable[[Any], Any], request_type: Any) -> Any:
        def run(request: Any, context: Any) -> Any:
            key = dict(context.invocation_metadata()).get("authorization", "")
            if Http.api_key and key != f"Bearer {Http.api_key}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "anonymous access not enabled")
            try:
                with LOCK:
                    return call(request)
            except ApiError as error:
                print(call.__name__, error, file=sys.stderr, flush=True)
                code = next(code for code in grpc.StatusCode if code.value[0] == error.status)
                context.abort(code, str(error))

        return grpc.unary_unary_rpc_method_handler(
            run, request_type.FromString, lambda reply: reply.SerializeToString()
        )

    health = health_weaviate_pb2.WeaviateHealthCheckResponse
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        options=[("grpc.max_receive_message_length", MAX_BYTES), ("grpc.max_send_message_length", 100 << 20)],
    )
    methods = {
        "Search": make_handler(search, search_get_pb2.SearchRequest),
        "BatchObjects": make_handler(batch, batch_pb2.BatchObjectsRequest),
        "BatchDelete": make_handler(delete, batch_delete_pb2.BatchDeleteRequest),
        "Aggregate": make_handler(aggregate, aggregate_pb2.AggregateRequest),
    }
    health_check = make_handler(lambda _: health(status=health.SERVING), health_weaviate_pb2.WeaviateHealthCheckRequest)
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("weaviate.v1.Weaviate", methods),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": health_check}),
    ))  # fmt: skip
    port, grpc_port, Http.api_key = sys.argv[1:4]
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    server.start()
    ThreadingHTTPServer(("127.0.0.1", int(port)), Http).serve_forever()


if __name__ == "__main__":
    main()
