"""What a request may hold, how an answer is written, and the wording of what is refused.

Bodies are checked by hand and written by hand: a request may carry 2,048 token arrays and an answer 3 million numbers, and
the messages are those of the API that clients know. The numbers of an answer are the shortest that read back as the
same float32.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from ..catalog import NOT_OPENAI, EncoderSpec, ModelCard
from ..errors import InputError
from ..inputs import Input
from ..vectors.arithmetic import FloatArray
from .json_text import read_json, replace_lone_surrogates, write_json

MAX_INPUTS = 2048
"""Inputs in one request."""
MAX_REQUEST_TOKENS = 300_000
"""Tokens in one request, all inputs together."""

FIELDS = ("model", "input", "encoding_format", "dimensions", "user")
"""The fields that a request may have."""

_INPUT_KINDS = "a string, an array of strings, an array of integers, or an array of integer arrays"


class EncodingFormat(StrEnum):
    """How the numbers of a vector are sent: a JSON array, or base64 of little-endian float32."""

    FLOAT = "float"
    BASE64 = "base64"


class RequestError(InputError):
    """A request breaks the API's rules. ``code`` and ``kind`` are the error object's ``code`` and ``type``."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message, param=param)
        self.code = code
        self.kind = kind


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """A request of ``POST /v1/embeddings`` whose shape is good; its tokens are not counted yet."""

    model: str
    inputs: Sequence[Input]
    encoding_format: EncodingFormat = EncodingFormat.FLOAT
    dimensions: int | None = None


def parse_json(content: bytes, *, embedded: Sequence[str] = ()) -> Any:
    """Return the value of a JSON text that a client sent.

    Args:
        content: JSON in UTF-8.
        embedded: Path of the field whose texts are embedded and never stored, as ``("body", "input")``. There a lone surrogate
            becomes U+FFFD, as in the library; everywhere else it is an error.

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


def _with_replacements(content: bytes, embedded: Sequence[str]) -> dict[str, Any] | None:
    """Return the object with lone surrogates replaced, or None if it is invalid or has some outside of the embedded field."""
    try:
        # Parsed with two different replacements, the values differ exactly where a lone surrogate was.
        value, other = (read_json(replace_lone_surrogates(content, character)) for character in "\ufffd\ufffc")
    except ValueError:
        return None
    return value if isinstance(value, dict) and _without(value, embedded) == _without(other, embedded) else None


def _without(value: object, path: Sequence[str]) -> object:
    if not isinstance(value, dict) or path[0] not in value:
        return value
    rest = {name: item for name, item in value.items() if name != path[0]}
    return rest if len(path) == 1 else (rest, _without(value[path[0]], path[1:]))


def parse_embeddings_request(body: bytes, *, engine: str | None = None) -> EmbeddingsRequest:
    """Check the body of a request. ``engine`` is the model that the path names, on the old engine routes.

    >>> parse_embeddings_request(b'{"model": "umekomi-fake", "input": "beans"}').inputs
    ['beans']

    Raises:
        RequestError: a field is missing, unknown, of a wrong type or out of its limits.
    """
    return check_embeddings_request(parse_object(body, FIELDS, embedded=("input",)), engine=engine)


def parse_object(body: bytes, known: Sequence[str], *, embedded: Sequence[str] = ()) -> dict[str, Any]:
    """The object that a body of JSON holds, with no other fields than the known ones. For ``embedded`` see :func:`parse_json`.

    Raises:
        RequestError: it is something else.
    """
    return check_object(parse_json(body, embedded=embedded), known)


def check_object(fields: object, known: Sequence[str]) -> dict[str, Any]:
    """The value if it is an object with no other fields than the known ones; else raises RequestError."""
    if not isinstance(fields, dict):
        raise RequestError(f"Invalid body: expected an object, but got {_kind(fields)} instead.", code="invalid_type")
    unknown = [name for name in fields if name not in known]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        names = ", ".join(brief(name) for name in unknown[:10])
        raise RequestError(f"Unrecognized request argument{plural} supplied: {names}")
    return fields


def check_embeddings_request(fields: Mapping[str, object], *, engine: str | None = None) -> EmbeddingsRequest:
    """Check the fields of a request; see :func:`parse_embeddings_request`."""
    return EmbeddingsRequest(
        model=_model(fields.get("model"), engine),
        inputs=_inputs(fields),
        encoding_format=_encoding_format(fields.get("encoding_format")),
        dimensions=_dimensions_and_user(fields),
    )


def _model(value: object, engine: str | None) -> str:
    if value is None and engine is None:
        raise RequestError("you must provide a model parameter")
    if value is not None and not isinstance(value, str):
        raise wrong_type("model", "a string", value)
    if value is not None and engine is not None and value != engine:
        raise RequestError(
            f"The path names the engine `{brief(engine)}` and the body the model `{brief(value)}`; name one.",
            param="model",
        )
    return value if value is not None else str(engine)


def _inputs(fields: Mapping[str, object]) -> Sequence[Input]:
    value = fields.get("input")
    if value is None:
        raise RequestError("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise wrong_type("input", _INPUT_KINDS, value)
    if not value:
        raise RequestError(
            "Invalid 'input': the array is empty; give at least one input.", param="input", code="empty_array"
        )
    kinds = set(map(type, value))
    if kinds == {int}:
        return [value]
    if len(value) > MAX_INPUTS:
        raise RequestError(
            f"Invalid 'input': array too long. Expected an array with maximum length {MAX_INPUTS}, but got an array "
            f"with length {len(value)} instead.",
            param="input",
            code="array_above_max_length",
        )
    if kinds == {str}:
        if "" in value:
            _refuse_empty(value.index(""), "string")
        return value
    if kinds == {list}:
        for place, ids in enumerate(value):
            if not ids:
                _refuse_empty(place, "array")
            if set(map(type, ids)) != {int}:
                wrong = next(item for item in ids if type(item) is not int)
                raise wrong_type(f"input[{place}]", "an array of integers", wrong)
        return value
    first = next((place for place, item in enumerate(value) if type(item) not in (str, int, list)), None)
    if first is not None:
        raise wrong_type(f"input[{first}]", "a string, an integer or an array of integers", value[first])
    raise RequestError(
        f"Invalid 'input': its items are of several types; expected {_INPUT_KINDS}.", param="input", code="invalid_type"
    )


def _refuse_empty(place: int, what: str) -> None:
    raise RequestError(
        f"Invalid 'input[{place}]': input cannot be an empty {what}.", param="input", code=f"empty_{what}"
    )


def _encoding_format(value: object) -> EncodingFormat:
    if value is None:
        return EncodingFormat.FLOAT
    if not isinstance(value, str):
        raise wrong_type("encoding_format", "a string", value)
    if value not in tuple(EncodingFormat):
        raise RequestError(
            f"Invalid value: '{brief(value)}'. Supported values are: 'float' and 'base64'.",
            param="encoding_format",
            code="invalid_value",
        )
    return EncodingFormat(value)


def _dimensions_and_user(fields: Mapping[str, object]) -> int | None:
    user = fields.get("user")
    if user is not None and not isinstance(user, str):
        raise wrong_type("user", "a string", user)
    dimensions = fields.get("dimensions")
    if dimensions is None:
        return None
    if type(dimensions) is not int:
        raise wrong_type("dimensions", "an integer", dimensions)
    if dimensions < 1:
        raise RequestError(
            "Invalid 'dimensions': integer below minimum value. Expected a value >= 1.",
            param="dimensions",
            code="integer_below_min_value",
        )
    return dimensions


def wrong_type(param: str, wanted: str, value: object) -> RequestError:
    """What is raised for a field of a wrong type."""
    return RequestError(
        f"Invalid type for '{param}': expected {wanted}, but got {_kind(value)} instead.",
        param=param,
        code="invalid_type",
    )


def _kind(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")


def brief(text: str) -> str:
    """A client's text as a message may repeat it: not long."""
    return text if len(text) <= 80 else text[:79] + "…"


def check_total_tokens(n_tokens: int, *, is_complete: bool = True) -> None:
    """Raise RequestError if the inputs of one request have too many tokens together.

    Args:
        n_tokens: The number of tokens.
        is_complete: Whether all inputs have been counted. If not, counting goes on up to twice the limit, so that the message
            has the exact number for requests that are a little too long.
    """
    if n_tokens > (MAX_REQUEST_TOKENS if is_complete else 2 * MAX_REQUEST_TOKENS):
        number = f"{n_tokens}" if is_complete else f"at least {n_tokens}"
        raise RequestError(
            f"Requested {number} tokens, max {MAX_REQUEST_TOKENS} tokens per request",
            code="max_tokens_per_request",
            kind="max_tokens_per_request",
        )


def embeddings_body(vectors: FloatArray, *, model: str, n_tokens: int, encoding_format: EncodingFormat) -> bytes:
    """The answer of ``POST /v1/embeddings`` as bytes of JSON, for ``(n, dims) float32`` vectors."""
    rows = _base64_rows(vectors) if encoding_format is EncodingFormat.BASE64 else _float_rows(vectors)
    usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (n_tokens, n_tokens)
    return b"".join(
        (b'{"object":"list","data":[', b",".join(rows), b'],"model":', write_json(model), b',"usage":', usage, b"}")
    )


def _float_rows(vectors: FloatArray) -> Iterator[bytes]:
    # A row at a time: other threads, the one that answers other clients among them, get their turn between two rows.
    for place, vector in enumerate(np.ascontiguousarray(vectors, dtype=np.float32)):
        numbers = write_json(vector)
        yield b'{"object":"embedding","index":%d,"embedding":%b}' % (place, numbers)


def _base64_rows(vectors: FloatArray) -> Iterator[bytes]:
    for place, vector in enumerate(np.ascontiguousarray(vectors, dtype="<f4")):
        yield b'{"object":"embedding","index":%d,"embedding":"%b"}' % (place, base64.b64encode(vector.data))


def error_body(message: str, *, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """The error object as bytes of JSON, all four keys always there."""
    return write_json({"error": {"message": message, "type": kind, "param": param, "code": code}})


def model_object(card: ModelCard, encoders: Mapping[str, EncoderSpec]) -> dict[str, object]:
    """A model as ``GET /v1/models`` lists it: OpenAI's four keys, and what is ours under ``umekomi``."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owner,
        "umekomi": {
            "description": card.description,
            "note": NOT_OPENAI if card.hosted else None,
            "dimensions": card.dimensions,
            "max_tokens": card.max_tokens,
            "tokenizer": card.tokenizer,
            "can_shorten": card.can_shorten,
            "role": card.role,
            "pair": card.pair or None,
            "space": card.space,
            "parts": [
                {
                    "encoder": part.encoder,
                    "weight": part.weight,
                    # Of a folder's model nothing is known but its files.
                    "license": encoders[part.encoder].license if part.encoder in encoders else None,
                }
                for part in card.parts
            ],
        },
    }


def engine_object(card: ModelCard) -> dict[str, object]:
    """A model as the old ``GET /v1/engines`` listed it."""
    return {"id": card.id, "object": "engine", "owner": card.owner, "ready": True}
