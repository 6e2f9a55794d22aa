"""The bodies of requests and responses, as the embeddings API has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from ..catalog import NOT_OPENAI, ModelCard
from ..errors import InputError
from ..vectors import FloatArray, to_base64

MAX_ITEMS = 2048
MAX_REQUEST_TOKENS = 300_000


class EmbeddingRequest(BaseModel):
    """The body of ``POST /v1/embeddings``."""

    model_config = ConfigDict(extra="forbid")

    model: StrictStr
    input: StrictStr | Annotated[list[StrictStr] | list[StrictInt] | list[list[StrictInt]], Field(min_length=1)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = None
    user: StrictStr | None = None

    def items(self) -> list[str | list[int]]:
        """The inputs as a list: one string, or one list of token ids, is a list of one."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [list(self.input)]
        return list(self.input)


def parse_request(body: bytes, *, model: str | None = None) -> EmbeddingRequest:
    """Read a request's body. ``model`` is the one that the address names, on the old engine routes.

    Raises:
        InputError: it is not JSON, or not of the API's form; ``param`` names the field.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(
            "We could not parse the JSON body of your request. The body must be JSON, with double quotes and no comma "
            f"after the last field ({error})."
        ) from error
    if not isinstance(fields, dict):
        raise InputError('The JSON body of a request must be an object, as {"model": …, "input": …}.')
    if model is not None:
        fields.setdefault("model", model)
    for name in ("model", "input"):
        if name not in fields:
            raise InputError(f"Missing required parameter: '{name}'.", param=name)
    try:
        request = EmbeddingRequest.model_validate(fields)
    except ValidationError as error:
        raise _explain(error) from error
    items = request.items()
    if len(items) > MAX_ITEMS:
        raise InputError(f"'input' has {len(items)} items; at most {MAX_ITEMS} are allowed.", param="input")
    if any(not item for item in items):
        raise InputError("'$.input' is invalid: no input may be empty.", param="input")
    return request


def _explain(error: ValidationError) -> InputError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else "input"
    if first["type"] == "extra_forbidden":
        return InputError(f"Unknown parameter: '{field}'.", param=field)
    wanted = {
        "model": "the id of a model, as text",
        "input": "a text, a list of texts, a list of token ids, or a list of such lists, and not empty",
        "encoding_format": "'float' or 'base64'",
        "dimensions": "a whole number of at least 1",
        "user": "text",
    }
    return InputError(f"Invalid value for '{field}': expected {wanted.get(field, first['msg'])}.", param=field)


def embedding_response(model: str, vectors: FloatArray, tokens: int, encoding_format: str) -> bytes:
    """The JSON of a response. Numbers are the shortest that give the same float32 again."""
    rows: list[Any] = list(vectors) if encoding_format == "float" else [to_base64(row) for row in vectors]
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def model_object(card: ModelCard) -> dict[str, Any]:
    """A model as ``/v1/models`` shows it; what OpenAI's API does not have is under ``umekomi``."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": "umekomi",
        "umekomi": {
            "description": card.description,
            "dimensions": card.dimensions,
            "max_tokens": card.max_tokens,
            "tokenizer": card.tokenizer,
            "role": card.role,
            "parts": [part.encoder for part in card.parts],
            "note": NOT_OPENAI,
        },
    }


def error_object(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The body of every failure."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
