"""The validation of fields enforces the limits of the JSON schema."""

import json
from typing import Any

import pytest

from umekomi.serve.errors import RequestError
from umekomi.serve.schemas.fields import Object
from umekomi.serve.schemas.openapi import SCHEMAS
from umekomi.serve.schemas.requests import BATCH, BATCH_LIST, EMBEDDINGS, FILE_LIST, FILE_UPLOAD, SEARCH

VALID: dict[str, Any] = {
    "EmbeddingsRequest": {"model": "m", "input": "x"},
    "SearchRequest": {"store": "s", "query": "x"},
    "BatchRequest": {"input_file_id": "f", "endpoint": "/v1/embeddings", "completion_window": "24h"},
}
OBJECTS = {"EmbeddingsRequest": EMBEDDINGS, "SearchRequest": SEARCH, "BatchRequest": BATCH}


def limits(schema: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Return a valid and an invalid value at each limit of a schema."""
    pairs: list[tuple[Any, Any]] = []
    if "minimum" in schema:
        pairs.append((schema["minimum"], schema["minimum"] - 1))
    if "maximum" in schema:
        pairs.append((schema["maximum"], schema["maximum"] + 1))
    if "maxLength" in schema:
        pairs.append(("x" * schema["maxLength"], "x" * (schema["maxLength"] + 1)))
    if "minLength" in schema:
        pairs.append(("x" * schema["minLength"], "x" * (schema["minLength"] - 1)))
    if "const" in schema:
        pairs.append((schema["const"], schema["const"] + "x"))
    pairs += [(choice, "another") for choice in schema.get("enum", ()) if choice is not None]
    if schema.get("type") == "array":
        item = {"string": "x", "integer": 1, "number": 0.5, "array": [1]}[schema["items"]["type"]]
        pairs.append(([item] * schema["minItems"], [item] * (schema["minItems"] - 1)))
        if "maxItems" in schema:
            pairs.append(([item] * schema["maxItems"], [item] * (schema["maxItems"] + 1)))
    if "maxProperties" in schema:
        texts = {str(n): "x" for n in range(schema["maxProperties"])}
        pairs.append((texts, {**texts, "more": "x"}))
        name, value = schema["propertyNames"]["maxLength"], schema["additionalProperties"]["maxLength"]
        pairs += [({"x" * name: "x"}, {"x" * (name + 1): "x"}), ({"x": "x" * value}, {"x": "x" * (value + 1)})]
    return pairs + [pair for inner in schema.get("oneOf", ()) for pair in limits(inner)]


@pytest.mark.parametrize("name", VALID)
def test_every_limit_of_a_schema_is_enforced(name: str) -> None:
    assert set(VALID[name]) >= set(SCHEMAS[name]["required"])
    n_limits = 0
    for field, described in SCHEMAS[name]["properties"].items():
        is_nullable = isinstance(described.get("type"), list)
        schema = {**described, "type": described["type"][0]} if is_nullable else described
        for valid, invalid in limits(schema):
            n_limits += 1
            OBJECTS[name].parse("", {**VALID[name], field: valid})
            with pytest.raises(RequestError) as caught:
                OBJECTS[name].parse("", {**VALID[name], field: invalid})
            assert str(caught.value.param).startswith(field)
        if is_nullable:
            default = OBJECTS[name].parse("", {**VALID[name], field: None})[field]
            assert default == described.get("default")
    assert n_limits > 2


@pytest.mark.parametrize("fields", [EMBEDDINGS, SEARCH, BATCH, FILE_LIST, BATCH_LIST, FILE_UPLOAD])
def test_values_of_other_types_are_rejected(fields: Object) -> None:
    valid = next((body for name, body in VALID.items() if OBJECTS[name] is fields), {})
    for name in fields.fields:
        for value in (1.0, True, b"x", 0.5):
            with pytest.raises(RequestError, match=r"Invalid|Missing"):
                fields.parse("", {**valid, name: value})


def test_integers_are_parsed_from_query_strings() -> None:
    assert FILE_LIST.parse_strings({"limit": "17", "order": "asc"}) == {
        "after": None, "limit": 17, "order": "asc", "purpose": None,
    }  # fmt: skip
    for text in ("", "-1", "1.0", " 1", "9" * 5000, "１"):
        with pytest.raises(RequestError, match="Invalid type for 'limit'"):
            FILE_LIST.parse_strings({"limit": text})


def test_nested_fields_are_named_by_their_path() -> None:
    body = {**VALID["BatchRequest"], "output_expires_after": {"anchor": "created_at"}}
    with pytest.raises(RequestError) as caught:
        BATCH.parse("", body)
    assert (caught.value.param, caught.value.code) == ("output_expires_after.seconds", "missing_required_parameter")


def test_the_schemas_are_json() -> None:
    assert json.loads(json.dumps(SCHEMAS)) == SCHEMAS
