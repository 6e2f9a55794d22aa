"""The description at ``/openapi.json``: JSON schemas of bodies and answers, which say what the code checks."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from .schemas import MAX_INPUTS

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_MAYBE_STRING: Schema = {"type": ["string", "null"]}
_MAYBE_INTEGER: Schema = {"type": ["integer", "null"]}
_INTEGERS: Schema = {"type": "array", "items": {"type": "integer"}, "minItems": 1}


def _object(properties: Schema, *, optional: tuple[str, ...] = (), closed: bool = False) -> Schema:
    required = [name for name in properties if name not in optional]
    schema: Schema = {"type": "object", "properties": properties, "required": required}
    return {**schema, "additionalProperties": False} if closed else schema


def _list(item: str, **more: Schema) -> Schema:
    items = {"type": "array", "items": _ref(item)}
    return _object({"object": {"const": "list"}, "data": items, **more})


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_REQUEST: Schema = {
    "model": {"type": "string", "description": "An id of GET /v1/models."},
    "input": {
        "description": f"One to {MAX_INPUTS} inputs: text, or token ids in the model's own vocabulary.",
        "oneOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MAX_INPUTS},
            _INTEGERS,
            {"type": "array", "items": _INTEGERS, "minItems": 1, "maxItems": MAX_INPUTS},
        ],
    },
    "encoding_format": {"type": ["string", "null"], "enum": ["float", "base64", None], "default": "float"},
    "dimensions": {
        "type": ["integer", "null"],
        "minimum": 1,
        "description": "A shorter length, for models that can shorten.",
    },
    "user": {"type": ["string", "null"], "description": "Accepted for clients that send it; not used, not kept."},
}
_OPTIONAL = ("encoding_format", "dimensions", "user")
_USAGE = _object({"prompt_tokens": _INTEGER, "total_tokens": _INTEGER})
_PAGE: Schema = {"first_id": _MAYBE_STRING, "last_id": _MAYBE_STRING, "has_more": {"type": "boolean"}}
_TIMES = (
    "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at",
)  # fmt: skip
STATUSES = ("validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled")
"""The states of a batch."""

SCHEMAS: dict[str, Schema] = {
    "EmbeddingsRequest": _object(_REQUEST, optional=_OPTIONAL, closed=True),
    "EngineEmbeddingsRequest": _object(_REQUEST, optional=("model", *_OPTIONAL), closed=True),
    "Embeddings": _list("Embedding", model=_STRING, usage=_USAGE),
    "Embedding": _object(
        {
            "object": {"const": "embedding"},
            "index": _INTEGER,
            "embedding": {"oneOf": [{"type": "array", "items": {"type": "number"}}, _STRING]},
        }
    ),
    "Tokens": _list("TokensOfOne", model=_STRING),
    "TokensOfOne": _object(
        {
            "object": {"const": "tokens"},
            "index": _INTEGER,
            "tokens": {"type": "array", "items": _INTEGER},
            "n_tokens": _INTEGER,
        }
    ),
    "ModelList": _list("Model"),
    "Model": _object(
        {
            "id": _STRING,
            "object": {"const": "model"},
            "created": _INTEGER,
            "owned_by": _STRING,
            "umekomi": {"type": "object", "description": "What the hosted API does not say: sizes, parts, licences."},
        }
    ),
    "EngineList": _list("Engine"),
    "Engine": _object(
        {"id": _STRING, "object": {"const": "engine"}, "owner": _STRING, "ready": {"type": "boolean"}},
    ),
    "Health": _object(
        {
            "status": {"const": "ok"},
            "version": _STRING,
            "loaded": {"type": "array", "items": _STRING},
            "waiting_tokens": _INTEGER,
        }
    ),
    "Ready": _object({"status": {"const": "ready"}}),
    "StoreList": _list("Store"),
    "Store": _object(
        {
            "id": _STRING,
            "object": {"const": "store"},
            "model": _MAYBE_STRING,
            "dimensions": _MAYBE_INTEGER,
            "rows": _MAYBE_INTEGER,
            "columns": {"type": "array", "items": _STRING},
        }
    ),
    "SearchRequest": {
        **_object(
            {
                "store": {"type": "string", "description": "An id of GET /v1/stores."},
                "query": {"type": ["string", "null"], "minLength": 1, "description": "What to find, in words."},
                "vector": {
                    "type": ["array", "null"],
                    "items": {"type": "number"},
                    "minItems": 1,
                    "description": "Or a vector of the store's model.",
                },
                "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 1000, "default": 10},
                "where": {
                    "type": ["string", "null"],
                    "maxLength": 32_768,
                    "description": "Only records that match, as: Score >= 4",
                },
            },
            optional=("query", "vector", "n", "where"),
            closed=True,
        ),
    },
    "Hits": _list("Hit", store=_STRING, model=_STRING, usage=_USAGE),
    "Hit": _object(
        {
            "object": {"const": "hit"},
            "index": _INTEGER,
            "id": _STRING,
            "score": {"type": "number", "description": "The cosine similarity."},
            "record": {"type": "object"},
        }
    ),
    "FileUpload": _object(
        {
            "file": {"type": "string", "format": "binary", "description": "JSON ModelQueues, one request a line."},
            "purpose": {"const": "batch"},
            "expires_after[anchor]": {"const": "created_at"},
            "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
        },
        optional=("expires_after[anchor]", "expires_after[seconds]"),
        closed=True,
    ),
    "File": _object(
        {
            "id": _STRING,
            "object": {"const": "file"},
            "bytes": _INTEGER,
            "created_at": _INTEGER,
            "expires_at": _MAYBE_INTEGER,
            "filename": _STRING,
            "purpose": {"enum": ["batch", "batch_output"]},
            "status": {"const": "processed"},
            "status_details": {"type": "null"},
        }
    ),
    "FileList": _list("File", **_PAGE),
    "DeletedFile": _object({"id": _STRING, "object": {"const": "file"}, "deleted": {"const": True}}),
    "BatchRequest": _object(
        {
            "input_file_id": _STRING,
            "endpoint": {"const": "/v1/embeddings"},
            "completion_window": {"const": "24h"},
            "metadata": {
                "type": ["object", "null"],
                "maxProperties": 16,
                "additionalProperties": {"type": "string", "maxLength": 512},
                "propertyNames": {"maxLength": 64},
            },
            "output_expires_after": {
                "oneOf": [
                    {"type": "null"},
                    _object(
                        {
                            "anchor": {"const": "created_at"},
                            "seconds": {"type": "integer", "minimum": 3600, "maximum": 2592000},
                        },
                        closed=True,
                    ),
                ]
            },
        },
        optional=("metadata", "output_expires_after"),
        closed=True,
    ),
    "Batch": _object(
        {
            "id": _STRING,
            "object": {"const": "batch"},
            "endpoint": _STRING,
            "model": _MAYBE_STRING,
            "errors": {"type": ["object", "null"]},
            "input_file_id": _STRING,
            "completion_window": _STRING,
            "status": {"enum": list(STATUSES)},
            "output_file_id": _MAYBE_STRING,
            "error_file_id": _MAYBE_STRING,
            "created_at": _INTEGER,
            **dict.fromkeys(_TIMES, _MAYBE_INTEGER),
            "request_counts": _object({"total": _INTEGER, "completed": _INTEGER, "failed": _INTEGER}),
            "usage": {"type": "object"},
            "metadata": {"type": ["object", "null"]},
        }
    ),
    "BatchList": _list("Batch", **_PAGE),
    "Error": _object(
        {"error": _object({"message": _STRING, "type": _STRING, "param": _MAYBE_STRING, "code": _MAYBE_STRING})}
    ),
}

PAGE_PARAMETERS: list[Schema] = [
    {"name": "after", "in": "query", "schema": _STRING, "description": "The id after which to go on."},
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1}},
]
FILE_PARAMETERS: list[Schema] = [
    *PAGE_PARAMETERS,
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"], "default": "desc"}},
    {"name": "purpose", "in": "query", "schema": {"enum": ["batch", "batch_output"]}},
]


def operation(
    *,
    answer: str,
    body: str = "",
    media: str = "application/json",
    body_media: str = "application/json",
    parameters: list[Schema] | None = None,
) -> dict[str, Any]:
    """What a route says of itself, as arguments of FastAPI's decorators.

    Args:
        answer: a name of ``SCHEMAS``, or ``text`` or ``binary``.
        body: a name of ``SCHEMAS``, if there is a body.
        media: the answer's media type.
        body_media: the body's.
        parameters: what may stand in the query.
    """
    plain: dict[str, Schema] = {"text": _STRING, "binary": {"type": "string", "format": "binary"}}
    extra: Schema = {}
    if body:
        extra["requestBody"] = {"required": True, "content": {body_media: {"schema": _ref(body)}}}
    if parameters:
        extra["parameters"] = parameters
    good = {
        "description": "Success",
        "content": {media.partition(";")[0]: {"schema": plain.get(answer) or _ref(answer)}},
    }
    return {"responses": {200: good}, "openapi_extra": extra, "response_class": Response}


def describe(schema: Schema, *, with_keys: bool) -> Schema:
    """FastAPI's description with our schemas, the error that every operation may answer with, and the keys."""
    error = {"description": "An error", "content": {"application/json": {"schema": _ref("Error")}}}
    for path in schema["paths"].values():
        for route in path.values():
            route["responses"].pop("422", None)
            route["responses"]["default"] = error
    schema["components"] = {"schemas": SCHEMAS}
    if with_keys:
        schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}]
    return schema
