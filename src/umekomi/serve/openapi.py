"""JSON schemas of the bodies, for ``/openapi.json``: they say what ``schemas`` checks."""

from __future__ import annotations

from typing import Any

from .schemas import MAX_INPUTS

_INTEGERS = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
_FIELDS: dict[str, dict[str, Any]] = {
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


def request_schema(*, model_in_path: bool) -> dict[str, object]:
    """The JSON schema of the body of ``POST /v1/embeddings``, for OpenAPI."""
    required = ["input"] if model_in_path else ["model", "input"]
    return {"type": "object", "properties": _FIELDS, "required": required, "additionalProperties": False}


RESPONSE_SCHEMA: dict[str, object] = {
    "type": "object",
    "required": ["object", "data", "model", "usage"],
    "properties": {
        "object": {"const": "list"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["object", "index", "embedding"],
                "properties": {
                    "object": {"const": "embedding"},
                    "index": {"type": "integer"},
                    "embedding": {"oneOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]},
                },
            },
        },
        "model": {"type": "string"},
        "usage": {
            "type": "object",
            "required": ["prompt_tokens", "total_tokens"],
            "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
        },
    },
}
ERROR_SCHEMA: dict[str, object] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
