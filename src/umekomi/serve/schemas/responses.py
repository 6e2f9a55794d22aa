"""Response bodies of embeddings and models.

Bodies with vectors are written by hand, because a response may contain 3 million numbers. The numbers are the shortest
decimals that parse to the same float32.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

import numpy as np

from ...catalog import NOT_OPENAI, EncoderSpec, ModelCard
from ...reranker import Reranker
from ...vectors.arithmetic import FloatArray
from .json_text import write_json
from .requests import EncodingFormat


def embeddings_body(vectors: FloatArray, *, model: str, n_tokens: int, encoding_format: EncodingFormat) -> bytes:
    """Return the JSON body of ``POST /v1/embeddings`` for ``(n, dims) float32`` vectors."""
    rows = _base64_rows(vectors) if encoding_format is EncodingFormat.BASE64 else _float_rows(vectors)
    usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (n_tokens, n_tokens)
    return b"".join(
        (b'{"object":"list","data":[', b",".join(rows), b'],"model":', write_json(model), b',"usage":', usage, b"}")
    )


def _float_rows(vectors: FloatArray) -> Iterator[bytes]:
    # One row at a time, so that other threads, such as the event loop, can run between two rows.
    for index, vector in enumerate(np.ascontiguousarray(vectors, dtype=np.float32)):
        yield b'{"object":"embedding","index":%d,"embedding":%b}' % (index, write_json(vector))


def _base64_rows(vectors: FloatArray) -> Iterator[bytes]:
    for index, vector in enumerate(np.ascontiguousarray(vectors, dtype="<f4")):
        yield b'{"object":"embedding","index":%d,"embedding":"%b"}' % (index, base64.b64encode(vector.data))


def model_object(card: ModelCard, encoders: Mapping[str, EncoderSpec]) -> dict[str, object]:
    """Return a model for ``GET /v1/models``.

    It has the four keys of OpenAI, vLLM's ``max_model_len``, ``dimensions``, and Umekomi's own information under ``umekomi``.
    """
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owner,
        "max_model_len": card.max_tokens,
        "dimensions": card.dimensions,
        "umekomi": {
            "description": card.description,
            "note": NOT_OPENAI if card.hosted else None,
            "dimensions": card.dimensions,
            "max_tokens": card.max_tokens,
            "tokenizer": card.tokenizer,
            "can_shorten": card.can_shorten,
            "shorter_dimensions": list(card.shorter_dims) or None,
            "role": card.role,
            "pair": card.pair or None,
            "space": card.space,
            "parts": [
                {
                    "encoder": part.encoder,
                    "weight": part.weight,
                    # The encoder of a model folder is not in the catalog.
                    "license": encoders[part.encoder].license if part.encoder in encoders else None,
                }
                for part in card.parts
            ],
        },
    }


def reranker_object(reranker: Reranker) -> dict[str, object]:
    """Return a reranker for ``GET /v1/models``."""
    return {
        "id": reranker.model,
        "object": "model",
        "created": 0,
        "owned_by": "local",
        "max_model_len": reranker.max_length,
        "dimensions": None,
        "umekomi": {
            "type": "reranker",
            "description": "A cross-encoder for POST /v1/rerank.",
            "max_tokens": reranker.max_length,
        },
    }


def engine_object(card: ModelCard) -> dict[str, object]:
    """Return a model for ``GET /v1/engines``."""
    return {"id": card.id, "object": "engine", "owner": card.owner, "ready": True}
