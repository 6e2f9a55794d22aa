"""Requests: the fields of every body, form and query string, and the parser of JSON bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from typing import Any

import numpy as np

from ...inputs import Input
from ...vectors.arithmetic import FloatArray, as_matrix
from ..errors import RequestError
from .fields import Inputs, Integer, Metadata, Numbers, Object, Text, abbreviate
from .json_text import read_json, replace_lone_surrogates

#: Maximum number of inputs in one request.
MAX_INPUTS = 2048
#: Maximum number of tokens in one request, all inputs together.
MAX_REQUEST_TOKENS = 300_000
#: Maximum number of hits of one search.
MAX_HITS = 1000
#: Maximum number of characters of a filter. The time that an engine takes grows with them.
MAX_WHERE = 32_768
#: Maximum number of characters of a role.
MAX_ROLE_LENGTH = 64
#: Fields that name the role of the texts, and the APIs that have them.
ROLE_FIELDS = {
    "input_type": "the APIs of Cohere, Voyage and NVIDIA, and LiteLLM",
    "task": "the API of Jina",
    "prompt_name": "sentence-transformers and text-embeddings-inference",
}
#: The only endpoint of batches.
BATCH_ENDPOINT = "/v1/embeddings"


class EncodingFormat(StrEnum):
    """How the numbers of a vector are sent: as a JSON array, or as base64 of little-endian float32."""

    FLOAT = "float"
    BASE64 = "base64"


@dataclass(frozen=True)
class _Model(Text):
    def parse_missing(self, name: str) -> Any:
        if self.required:
            raise RequestError("you must provide a model parameter")  # the words of the hosted API
        return None


@dataclass(frozen=True)
class _EncodingFormat(Text):
    def parse(self, name: str, value: Any) -> EncodingFormat:
        return EncodingFormat(super().parse(name, value))


EMBEDDINGS = Object(
    fields={
        "model": _Model(required=True, description="An id of GET /v1/models."),
        "input": Inputs(
            MAX_INPUTS,
            required=True,
            description=f"One to {MAX_INPUTS} inputs: text, or token ids in the model's own vocabulary.",
        ),
        "encoding_format": _EncodingFormat(tuple(each.value for each in EncodingFormat), default=EncodingFormat.FLOAT),
        "user": Text(description="Accepted for compatibility, but neither used nor stored."),
        "dimensions": Integer(1, description="Length of the vectors, for models that can be shortened."),
        **{
            name: Text(
                min_length=1,
                max_length=MAX_ROLE_LENGTH,
                description=f"What the texts are for: query or document, as in {origin}. At most one such field.",
            )
            for name, origin in ROLE_FIELDS.items()
        },
    }
)
ENGINE_EMBEDDINGS = Object(fields={**EMBEDDINGS.fields, "model": _Model(description="The model of the path.")})
SEARCH = Object(
    fields={
        "store": Text(required=True, description="An id of GET /v1/stores."),
        "query": Text(min_length=1, description="The text to search for."),
        "vector": Numbers(description="A vector of the store's model, instead of a query."),
        "n": Integer(1, MAX_HITS, default=10, description="Maximum number of hits."),
        "where": Text(max_length=MAX_WHERE, description="Filter expression, for example: Score >= 4"),
    }
)
_ANCHOR = Text(("created_at",), required=True)
_LIFETIME = Integer(3600, 2_592_000, required=True, description="Seconds until the file is deleted.")
BATCH = Object(
    fields={
        "input_file_id": Text(required=True),
        "endpoint": Text((BATCH_ENDPOINT,), required=True),
        "completion_window": Text(("24h",), required=True),
        "metadata": Metadata(16, max_name_length=64, max_value_length=512),
        "output_expires_after": Object(fields={"anchor": _ANCHOR, "seconds": _LIFETIME}),
    }
)
#: The fields of the form besides the file.
FILE_UPLOAD = Object(
    fields={
        "purpose": Text(("batch",), required=True),
        "expires_after[anchor]": replace(_ANCHOR, required=False),
        "expires_after[seconds]": replace(_LIFETIME, required=False),
    }
)
_AFTER = Text(description="The id after which the page begins.")
BATCH_LIST = Object(fields={"after": _AFTER, "limit": Integer(1, 100, default=20)})
FILE_LIST = Object(
    fields={
        "after": _AFTER,
        "limit": Integer(1, 10_000, default=10_000),
        "order": Text(("asc", "desc"), default="desc"),
        "purpose": Text(("batch", "batch_output")),
    }
)


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """A validated request of ``POST /v1/embeddings``. Its tokens are not counted yet."""

    model: str
    inputs: Sequence[Input]
    encoding_format: EncodingFormat = EncodingFormat.FLOAT
    dimensions: int | None = None
    #: What the texts are for, in the words of the client.
    role: str | None = None
    #: The field that named the role.
    role_field: str | None = None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A validated request of ``POST /v1/search``. Exactly one of ``query`` and ``vector`` is set."""

    store: str
    query: str | None
    #: ``(1, dims) float32``.
    vector: FloatArray | None
    n: int
    where: str | None


def parse_json(content: bytes, *, embedded: Sequence[Sequence[str]] = ()) -> Any:
    """Return the value of a JSON text that a client sent.

    Args:
        content: JSON in UTF-8.
        embedded: Paths of the fields whose texts are embedded and never stored, such as ``("body", "input")``. There a lone
            surrogate becomes U+FFFD, as in the library; everywhere else it is an error.

    Raises:
        RequestError: The text is not valid JSON.
    """
    try:
        return read_json(content)
    except ValueError as error:
        replaced = _with_replacements(content, embedded) if embedded else None
        if replaced is None:
            raise RequestError(
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
                "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
            ) from error
        return replaced


def _with_replacements(content: bytes, embedded: Sequence[Sequence[str]]) -> dict[str, Any] | None:
    """Return the object with lone surrogates replaced, or None if it is invalid or has some outside of the embedded fields."""
    try:
        # Parsed with two different replacements, the values differ exactly where a lone surrogate was.
        value, other = (read_json(replace_lone_surrogates(content, character)) for character in "\ufffd\ufffc")
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    return value if reduce(_without, embedded, value) == reduce(_without, embedded, other) else None


def _without(value: Any, path: Sequence[str]) -> Any:
    if not isinstance(value, dict) or path[0] not in value:
        return value
    rest = {name: item for name, item in value.items() if name != path[0]}
    return rest if len(path) == 1 else {**rest, path[0]: _without(value[path[0]], path[1:])}


def parse_embeddings_request(body: bytes, *, engine: str | None = None) -> EmbeddingsRequest:
    """Return the validated body of a request for embeddings.

    Args:
        body: JSON in UTF-8.
        engine: The model that the path names, on the engine routes of 2022.

    Raises:
        RequestError: A field is missing or unknown, has a wrong type or is outside of its limits.

    >>> parse_embeddings_request(b'{"model": "umekomi-fake", "input": "beans"}').inputs
    ['beans']
    """
    return check_embeddings_request(parse_json(body, embedded=[("input",)]), engine=engine)


def check_embeddings_request(value: object, *, engine: str | None = None) -> EmbeddingsRequest:
    """Return the validated request of a JSON value. See :func:`parse_embeddings_request`."""
    fields = (EMBEDDINGS if engine is None else ENGINE_EMBEDDINGS).parse("", value)
    model: str = engine if fields["model"] is None else fields["model"]  # type: ignore[assignment]  # one of them exists
    if engine is not None and model != engine:
        raise RequestError(
            f"The path names the engine `{abbreviate(engine)}` and the body the model `{abbreviate(model)}`; name one.",
            param="model",
        )
    role_fields = [name for name in ROLE_FIELDS if fields[name] is not None]
    if len(role_fields) > 1:
        raise RequestError(
            f"Give only one of {' and '.join(repr(name) for name in role_fields)}.",
            param=role_fields[1],
            code="invalid_value",
        )
    role_field = role_fields[0] if role_fields else None
    return EmbeddingsRequest(
        model,
        fields["input"],
        fields["encoding_format"],
        fields["dimensions"],
        None if role_field is None else fields[role_field],
        role_field,
    )


def parse_search_request(body: bytes) -> SearchRequest:
    """Return the validated body of a search.

    Raises:
        RequestError: A field is missing or unknown, has a wrong type or is outside of its limits.
    """
    fields = SEARCH.parse("", parse_json(body, embedded=[("query",)]))
    vector = fields["vector"]
    if (fields["query"] is None) == (vector is None):
        raise RequestError("Give either 'query' or 'vector'.", param="query", code="missing_required_parameter")
    if vector is not None:
        try:
            with np.errstate(over="ignore"):
                fields["vector"] = as_matrix(np.array(vector, dtype=np.float64).astype(np.float32))
        except (OverflowError, ValueError) as error:
            raise RequestError(
                "Invalid 'vector': a number is too large.", param="vector", code="invalid_value"
            ) from error
    return SearchRequest(**fields)


def parse_batch_request(body: bytes) -> dict[str, Any]:
    """Return the validated fields of a new batch, with ``output_seconds`` instead of ``output_expires_after``.

    Raises:
        RequestError: A field is missing or unknown, has a wrong type or is outside of its limits.
    """
    fields = BATCH.parse("", parse_json(body))
    expiry = fields.pop("output_expires_after")
    return {**fields, "output_seconds": expiry and expiry["seconds"]}


def parse_file_form(form: Mapping[str, str]) -> int | None:
    """Return after how many seconds an uploaded file expires, or None if it does not expire.

    Raises:
        RequestError: A field is missing or unknown, has a wrong type or is outside of its limits.
    """
    fields = FILE_UPLOAD.parse_strings(form)
    anchor, seconds = (fields[f"expires_after[{name}]"] for name in ("anchor", "seconds"))
    if (anchor is None) != (seconds is None):
        raise RequestError("Give both fields of 'expires_after', or none.", param="expires_after", code="invalid_value")
    return None if seconds is None else int(seconds)


def check_total_tokens(n_tokens: int, *, is_complete: bool = True) -> None:
    """Check the number of tokens of all inputs of one request.

    Args:
        n_tokens: The number of tokens.
        is_complete: Whether all inputs have been counted. If not, counting goes on up to twice the limit, so that the message
            has the exact number for requests that are a little too long.

    Raises:
        RequestError: There are too many tokens.
    """
    if n_tokens > (MAX_REQUEST_TOKENS if is_complete else 2 * MAX_REQUEST_TOKENS):
        number = f"{n_tokens}" if is_complete else f"at least {n_tokens}"
        raise RequestError(
            f"Requested {number} tokens, max {MAX_REQUEST_TOKENS} tokens per request",
            code="max_tokens_per_request",
            error_type="max_tokens_per_request",
        )
