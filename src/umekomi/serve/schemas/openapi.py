"""The description at ``/openapi.json``. The schemas of requests follow from their fields; those of responses are listed here."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from ..batch_api.records import BatchStatus
from .fields import Object, Schema
from .requests import BATCH, EMBEDDINGS, ENGINE_EMBEDDINGS, FILE_UPLOAD, SEARCH
from .rerank import RERANK

_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_BOOLEAN: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_BINARY: Schema = {"type": "string", "format": "binary"}


def _object(object_type: str = "", **properties: Schema | str) -> Schema:
    """Return the schema of an object. A string as a property is a constant; ``object_type`` is that of ``object``."""
    schemas = {name: {"const": value} if isinstance(value, str) else value for name, value in properties.items()}
    if object_type:
        schemas = {"object": {"const": object_type}, **schemas}
    return {"type": "object", "properties": schemas, "required": list(schemas)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _list(item: str, **properties: Schema) -> Schema:
    return _object("list", data=_array(_ref(item)), **properties)


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _upload(form: Object) -> Schema:
    schema = form.type_schema(nullable=False)
    file = {**_BINARY, "description": "JSON Lines, one request per line."}
    return {**schema, "properties": {"file": file, **schema["properties"]}, "required": ["file", *schema["required"]]}


_USAGE = _object(prompt_tokens=_INTEGER, total_tokens=_INTEGER)
_PAGE = {"first_id": _nullable(_STRING), "last_id": _nullable(_STRING), "has_more": _BOOLEAN}

SCHEMAS: dict[str, Schema] = {
    "EmbeddingsRequest": EMBEDDINGS.type_schema(),
    "EngineEmbeddingsRequest": ENGINE_EMBEDDINGS.type_schema(),
    "SearchRequest": SEARCH.type_schema(),
    "RerankRequest": RERANK.type_schema(),
    "FileUpload": _upload(FILE_UPLOAD),
    "BatchRequest": BATCH.type_schema(),
    "Embeddings": _list("Embedding", model=_STRING, usage=_USAGE),
    "Embedding": _object("embedding", index=_INTEGER, embedding={"oneOf": [_array(_NUMBER), _STRING]}),
    "Tokens": _list("InputTokens", model=_STRING),
    "InputTokens": _object("tokens", index=_INTEGER, tokens=_array(_INTEGER), n_tokens=_INTEGER),
    "ModelList": _list("Model"),
    "Model": _object(
        "model",
        id=_STRING,
        created=_INTEGER,
        owned_by=_STRING,
        max_model_len=_INTEGER,
        dimensions=_nullable(_INTEGER),
        umekomi={**_OBJECT, "description": "What the hosted API does not have: sizes, parts and licenses."},
    ),
    "EngineList": _list("Engine"),
    "Engine": _object("engine", id=_STRING, owner=_STRING, ready=_BOOLEAN),
    "Health": _object(status="ok", version=_STRING, loaded=_array(_STRING), waiting_tokens=_INTEGER),
    "Ready": _object(status="ready"),
    "StoreList": _list("Store"),
    "Store": _object(
        "store",
        id=_STRING,
        model=_nullable(_STRING),
        dimensions=_nullable(_INTEGER),
        rows=_nullable(_INTEGER),
        columns=_array(_STRING),
    ),
    "Hits": _list("Hit", store=_STRING, model=_STRING, usage=_USAGE),
    "Hit": _object(
        "hit",
        index=_INTEGER,
        id=_STRING,
        score={**_NUMBER, "description": "The cosine similarity."},
        record=_OBJECT,
    ),
    "Ranking": _object(
        "list",
        id=_STRING,
        model=_STRING,
        results=_array(_ref("RankedDocument")),
        usage=_USAGE,
        meta={**_OBJECT, "description": "The version of Cohere's API, and counts under the names of its clients."},
    ),
    "RankedDocument": {
        "type": "object",
        "properties": {
            "index": {**_INTEGER, "description": "The index of the document in the request."},
            "relevance_score": _NUMBER,
            "document": {**_OBJECT, "description": "Missing if `return_documents` is false."},
        },
        "required": ["index", "relevance_score"],
    },
    "File": _object(
        "file",
        id=_STRING,
        bytes=_INTEGER,
        created_at=_INTEGER,
        expires_at=_nullable(_INTEGER),
        filename=_STRING,
        purpose={"enum": ["batch", "batch_output"]},
        status="processed",
        status_details={"type": "null"},
    ),
    "FileList": _list("File", **_PAGE),
    "DeletedFile": _object("file", id=_STRING, deleted={"const": True}),
    "Batch": _object(
        "batch",
        id=_STRING,
        endpoint=_STRING,
        model=_nullable(_STRING),
        errors=_nullable(_OBJECT),
        input_file_id=_STRING,
        completion_window=_STRING,
        status={"enum": [str(status) for status in BatchStatus]},
        output_file_id=_nullable(_STRING),
        error_file_id=_nullable(_STRING),
        created_at=_INTEGER,
        expires_at=_nullable(_INTEGER),
        **{f"{status}_at": _nullable(_INTEGER) for status in BatchStatus if status is not BatchStatus.VALIDATING},
        request_counts=_object(total=_INTEGER, completed=_INTEGER, failed=_INTEGER),
        usage=_OBJECT,
        metadata=_nullable(_OBJECT),
    ),
    "BatchList": _list("Batch", **_PAGE),
    "Error": _object(
        error=_object(message=_STRING, type=_STRING, param=_nullable(_STRING), code=_nullable(_STRING)),
    ),
    "text": _STRING,
    "binary": _BINARY,
}


def operation(
    *,
    response: str,
    body: str = "",
    media_type: str = "application/json",
    body_media_type: str = "application/json",
    query: Object | None = None,
) -> dict[str, Any]:
    """Return the description of a route, as arguments of FastAPI's decorators.

    Args:
        response: Name of the response's schema in ``SCHEMAS``.
        body: Name of the body's schema in ``SCHEMAS``, if the route has a body.
        media_type: Media type of the response.
        body_media_type: Media type of the body.
        query: Fields of the query string.
    """
    extra: Schema = {}
    if body:
        extra["requestBody"] = {"required": True, "content": {body_media_type: {"schema": _ref(body)}}}
    if query is not None:
        extra["parameters"] = query.query_parameters()
    success = {
        "description": "Success",
        "content": {media_type.partition(";")[0]: {"schema": _ref(response)}},
    }
    return {"responses": {200: success}, "openapi_extra": extra, "response_class": Response}


def add_schemas(description: Schema, *, has_keys: bool) -> Schema:
    """Return FastAPI's description with our schemas, the error that every operation may return, and authentication."""
    error = {"description": "An error", "content": {"application/json": {"schema": _ref("Error")}}}
    for path in description["paths"].values():
        for route in path.values():
            route["responses"].pop("422", None)
            route["responses"]["default"] = error
    description["components"] = {"schemas": SCHEMAS}
    if has_keys:
        description["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"key": []}]
    return description
