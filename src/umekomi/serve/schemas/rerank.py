"""Requests and responses of reranking. They fit the clients of Cohere (versions 1 and 2 of its API), Jina and Voyage."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...reranker import order
from ...vectors.arithmetic import FloatArray
from ..errors import RequestError
from .fields import Boolean, Field, Integer, Object, Schema, Strings, Text, check_length, type_error
from .json_text import write_json
from .requests import parse_json

#: Maximum number of documents in one request.
MAX_DOCUMENTS = 1000
#: Maximum number of fields of a document that are ranked.
MAX_RANK_FIELDS = 64
#: Number of documents that Cohere counts as one search unit.
_DOCUMENTS_PER_UNIT = 100


@dataclass(frozen=True)
class _Documents(Field):
    """An array of texts, or of objects with texts."""

    max_items: int

    def parse(self, name: str, value: Any) -> list[str | dict[str, Any]]:
        if type(value) is not list:
            raise type_error(name, "an array of strings or objects", value)
        if not value:
            raise RequestError(
                f"Invalid '{name}': the array is empty; give at least one document.", param=name, code="empty_array"
            )
        check_length(name, value, self.max_items)
        for index, item in enumerate(value):
            if type(item) not in (str, dict):
                raise type_error(f"{name}[{index}]", "a string or an object", item)
        return value

    def type_schema(self) -> Schema:
        items = {"anyOf": [{"type": "string"}, {"type": "object"}]}
        return {"type": "array", "items": items, "minItems": 1, "maxItems": self.max_items}


RERANK = Object(
    fields={
        "model": Text(description="The id of a reranker in GET /v1/models. By default the first one."),
        "query": Text(required=True, min_length=1, description="The text to search for."),
        "documents": _Documents(
            MAX_DOCUMENTS,
            required=True,
            description=f"One to {MAX_DOCUMENTS} texts, or objects with a field 'text' or the fields in 'rank_fields'.",
        ),
        "top_n": Integer(1, description="Number of documents to return. By default all."),
        "top_k": Integer(1, description="Voyage's name of 'top_n'."),
        "truncation": Boolean(
            default=True,
            description="Whether a query and a document that are together longer than the model's window are truncated. False "
            "makes this an error.",
        ),
        "return_documents": Boolean(default=True, description="Whether the results contain the documents."),
        "rank_fields": Strings(
            MAX_RANK_FIELDS, description="Fields of the documents to rank by, in this order. By default 'text'."
        ),
        "max_tokens_per_doc": Integer(1, description="Maximum number of tokens of a document. The rest is not read."),
        "max_chunks_per_doc": Integer(
            1,
            MAX_DOCUMENTS,
            default=1,
            description="Maximum number of passages that a document is split into if it is longer than the model's window. The "
            "best passage counts. By default long documents are truncated.",
        ),
        "priority": Integer(0, 999, description="Accepted for compatibility, but not used."),
    }
)


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A validated request of ``POST /v1/rerank``."""

    model: str | None
    query: str
    #: The documents as the client sent them.
    documents: Sequence[str | dict[str, Any]]
    #: The text of each document.
    texts: Sequence[str]
    top_n: int | None
    return_documents: bool
    #: Whether pairs that are longer than the window are truncated. Otherwise they are an error.
    truncates: bool
    #: Whether the request has Voyage's fields, so that the response is in Voyage's format.
    is_voyages: bool
    max_document_tokens: int | None
    max_passages: int


def parse_rerank_request(body: bytes) -> RerankRequest:
    """Return the validated body of a request for reranking.

    Raises:
        RequestError: A field is missing or unknown, has a wrong type or is outside of its limits.

    >>> parse_rerank_request(b'{"query": "beans", "documents": ["tea", {"text": "coffee"}]}').texts
    ['tea', 'coffee']
    """
    given = parse_json(body, embedded=[("query",), ("documents",)])
    fields = RERANK.parse("", given)
    if not fields["query"].strip():
        raise RequestError("Invalid 'query': it contains only white space.", param="query", code="empty_string")
    if fields["top_n"] and fields["top_k"] and fields["top_n"] != fields["top_k"]:
        raise RequestError("'top_n' and 'top_k' differ. Give one of them.", param="top_k", code="invalid_value")
    names = fields["rank_fields"] or ["text"]
    return RerankRequest(
        model=fields["model"],
        query=fields["query"],
        documents=fields["documents"],
        texts=[_text(index, document, names) for index, document in enumerate(fields["documents"])],
        top_n=fields["top_n"] or fields["top_k"],
        truncates=fields["truncation"],
        is_voyages="top_k" in given or "truncation" in given,
        return_documents=fields["return_documents"],
        max_document_tokens=fields["max_tokens_per_doc"],
        max_passages=fields["max_chunks_per_doc"],
    )


def _text(index: int, document: str | dict[str, Any], names: Sequence[str]) -> str:
    """Return the text of a document: the values of its fields, one per line."""
    if isinstance(document, str):
        return document
    values = []
    for name in names:
        if document.get(name) is None:
            raise RequestError(
                f"Invalid 'documents[{index}]': it has no field '{name[:80]}'. Name the fields to rank by in 'rank_fields'.",
                param="documents",
                code="missing_required_parameter",
            )
        if type(document[name]) is not str:
            raise type_error(f"documents[{index}].{name}", "a string", document[name])
        values.append(document[name])
    return "\n".join(values)


def rerank_body(request: RerankRequest, scores: FloatArray, *, model: str, n_tokens: int, version: str) -> bytes:
    """Return the JSON body of a response.

    Args:
        request: The request.
        scores: Score of each document, ``(n,) float32``.
        model: Id of the model.
        n_tokens: Number of tokens of all pairs of the query and a passage.
        version: Version of Cohere's API that the path names.
    """
    results = []
    for index in order(scores, top_n=request.top_n):
        result: dict[str, Any] = {"index": index, "relevance_score": scores[index]}
        if request.return_documents:
            document = request.documents[index]
            as_text = request.is_voyages or not isinstance(document, str)
            result["document"] = document if as_text else {"text": document}
        results.append(result)
    units = -(-len(request.documents) // _DOCUMENTS_PER_UNIT)
    return write_json(
        {
            "id": str(uuid.uuid4()),
            "object": "list",
            "model": model,
            "data" if request.is_voyages else "results": results,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
            "meta": {
                "api_version": {"version": version},
                "billed_units": {"search_units": units},
                "tokens": {"input_tokens": n_tokens},
            },
        }
    )
