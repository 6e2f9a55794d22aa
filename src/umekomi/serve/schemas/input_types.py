"""The names that other APIs give to the role of a text."""

from __future__ import annotations

from collections.abc import Mapping

from ...catalog import Role
from ..errors import RequestError
from .fields import abbreviate

_QUERY, _DOCUMENT = Role.QUERY, Role.DOCUMENT
#: Roles by name in lower case. None means that texts are compared with each other.
INPUT_TYPES: Mapping[str, Role | None] = {
    # Voyage and NVIDIA.
    "query": _QUERY,
    "document": _DOCUMENT,
    "passage": _DOCUMENT,
    # Cohere.
    "search_query": _QUERY,
    "search_document": _DOCUMENT,
    "classification": None,
    "clustering": None,
    # Jina.
    "retrieval.query": _QUERY,
    "retrieval.passage": _DOCUMENT,
    "nl2code.query": _QUERY,
    "nl2code.passage": _DOCUMENT,
    "code.query": _QUERY,
    "code.passage": _DOCUMENT,
    "text-matching": None,
    "separation": None,
    # Google, through LiteLLM.
    "retrieval_query": _QUERY,
    "retrieval_document": _DOCUMENT,
    "question_answering": _QUERY,
    "fact_verification": _QUERY,
    "code_retrieval_query": _QUERY,
    "semantic_similarity": None,
}


def resolve_role(name: str, *, field: str, prompts: Mapping[str, str]) -> str | None:
    """Return the role that a client names: a :class:`~umekomi.Role`, the name of a prompt of the model, or None.

    A prompt of the model with exactly this name is preferred to the meaning of the name in other APIs.

    Args:
        name: Value of the field.
        field: Name of the field, for the message.
        prompts: Prompts of the model by name.

    Raises:
        RequestError: Neither the model nor :data:`INPUT_TYPES` has the name.

    >>> resolve_role("search_query", field="input_type", prompts={})
    <Role.QUERY: 'query'>
    >>> resolve_role("clustering", field="task", prompts={"clustering": "Cluster: "})
    'clustering'
    """
    if name in prompts and name not in tuple(Role):
        return name
    if name.lower() in INPUT_TYPES:
        return INPUT_TYPES[name.lower()]
    *names, last = (f"'{each}'" for each in dict.fromkeys([*Role, *prompts, *INPUT_TYPES]))
    raise RequestError(
        f"Invalid value: '{abbreviate(name)}'. Supported values are: {', '.join(names)} and {last}.",
        param=field,
        code="invalid_value",
    )
