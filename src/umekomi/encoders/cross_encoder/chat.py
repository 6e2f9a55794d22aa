"""Pairs as the prompts of a language model that answers whether a document is relevant.

The prompt comes from the chat template of the folder, in the form that sentence-transformers 6 documents for pairs: text with
places for the messages of the roles ``query``, ``document`` and ``system`` (the instruction). Umekomi replaces these places
itself and supports no other expression, because a template of Jinja is a program. A Qwen3 reranker whose template is only for
chats has the prompt of its model card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from ...errors import InputError
from ..forks import guard
from ..json_files import read_object
from .pairs import PairTokenizer

QWEN3_TEMPLATE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note "
    'that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: {{ messages | selectattr("role", "eq", '
    '"system") | map(attribute="content") | first | default("Given a web search query, retrieve relevant passages that answer '
    'the query") }}\n<Query>: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}\n<Document>: '
    '{{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first }}<|im_end|>\n'
    "<|im_start|>assistant\n<think>\n\n</think>\n\n\n"
)
"""The prompt in the model card of Qwen3-Reranker (Zhang et al. 2025, arXiv:2506.05176)."""

_PLACE = re.compile(r"(\{\{-?.*?-?\}\})", re.DOTALL)
_SELECT = r"""selectattr\(\s*["']role["']\s*,\s*["'](?:eq|equalto|==)["']\s*,\s*["'](?P<role>query|document|system)["']\s*\)"""
_DEFAULT = r"""(?:\s*\|\s*default\(\s*(?P<default>"[^"\\]*"|'[^'\\]*')\s*(?:,\s*true\s*)?\))?"""
_EXPRESSIONS = (
    re.compile(
        rf"\{{\{{\s*messages\s*\|\s*{_SELECT}\s*\|\s*map\(\s*attribute\s*=\s*[\"']content[\"']\s*\)\s*\|\s*first{_DEFAULT}\s*\}}\}}"
    ),
    re.compile(
        rf"\{{\{{\s*\(\s*messages\s*\|\s*{_SELECT}\s*\|\s*first\s*\)\.content(?:\[0\]\.text)?{_DEFAULT}\s*\}}\}}"
    ),
)


@dataclass(frozen=True, slots=True)
class _Place:
    """A place for the message of a role."""

    role: str
    default: str


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A prompt with places for a query, a document and an instruction."""

    parts: tuple[str | _Place, ...]

    def render(self, messages: Mapping[str, str]) -> str:
        """Return the prompt for messages by role. A role without a message has its default."""
        return "".join(part if isinstance(part, str) else messages.get(part.role, part.default) for part in self.parts)


def parse_template(text: str, *, name: str) -> ChatTemplate:
    """Parse a chat template for pairs.

    Args:
        text: The template.
        name: Name of the model for messages.

    Raises:
        InputError: The template has no places for the query and the document, or is a program.
    """
    if "{%" in text or "{#" in text:
        raise InputError(
            f"{name} has a chat template with statements. Umekomi supports templates of text with the messages of the roles "
            "query, document and system.",
            param="model",
        )
    # Jinja removes one line end at the end of a template.
    parts = tuple(_parse_part(part, name) for part in _PLACE.split(text.removesuffix("\n")) if part)
    roles = {part.role for part in parts if isinstance(part, _Place)}
    if not {"query", "document"} <= roles:
        raise InputError(f"{name} has a chat template without the messages of a query and a document.", param="model")
    return ChatTemplate(parts)


def has_roles(template: str) -> bool:
    """Return whether a chat template names the role of queries, so that it is for pairs."""
    return re.search(r"""["']query["']""", template) is not None


def _parse_part(part: str, name: str) -> str | _Place:
    if not part.startswith("{{"):
        return part
    match = next((match for pattern in _EXPRESSIONS if (match := pattern.fullmatch(part))), None)
    if match is None:
        raise InputError(
            f"{name} has a chat template with {part[:80]!r}, which Umekomi does not support.", param="model"
        )
    return _Place(match["role"], (match["default"] or '""')[1:-1])


def read_template(root: Path, *, name: str) -> str | None:
    """Return the chat template of a folder, or None.

    Raises:
        InputError: There are several.
    """
    if (root / "chat_template.jinja").is_file():
        return (root / "chat_template.jinja").read_text("utf-8")
    template: Any = read_object(root / "tokenizer_config.json").get("chat_template")
    if template is None or isinstance(template, str):
        return template
    raise InputError(f"{name} has several chat templates: {json.dumps(template)[:80]}…", param="model")


class ChatTokenizer(PairTokenizer):
    """Tokenizes prompts with pairs of texts.

    As in sentence-transformers, a long prompt is truncated at its end, and the last tokens are replaced by those after the
    document.

    Args:
        tokenizer: Tokenizer whose special tokens are part of the prompt. It is changed.
        window: Maximum number of tokens of a prompt.
        template: The prompt.
        instruction: Message of the role ``system``. By default the template's own.
    """

    def __init__(self, tokenizer: Tokenizer, *, window: int, template: ChatTemplate, instruction: str = "") -> None:
        super().__init__(tokenizer, window=window, has_segments=False)
        self._template = template
        self._instruction = {"system": instruction} if instruction else {}
        skeletons = [self._tokenize([self._render(filler, filler)])[0].ids for filler in ("0", "1 2 3 4")]
        same = takewhile(lambda pair: pair[0] == pair[1], zip(*map(reversed, skeletons), strict=False))
        self._suffix = [token for token, _ in same][::-1]
        #: Number of tokens that are not of the query and the document.
        self._n_fixed = len(skeletons[0]) - 2

    def _render(self, query: str, document: str) -> str:
        return self._template.render({"query": query, "document": document, **self._instruction})

    def _tokenize(self, texts: Sequence[str]) -> list[Encoding]:
        with guard.native():
            return self._plain.encode_batch_fast(list(texts), add_special_tokens=False)

    def _is_too_long(self, encoding: Encoding) -> bool:
        return len(encoding.ids) > self.window

    def _ids(self, encoding: Encoding) -> list[int]:
        ids: list[int] = encoding.ids
        if len(ids) < self.window:
            return ids
        n_suffix = min(len(self._suffix), self.window)
        return [*ids[: self.window - n_suffix], *self._suffix[len(self._suffix) - n_suffix :]]

    def _encode_truncated(self, pairs: Sequence[tuple[str, str]]) -> list[Encoding]:
        return self._tokenize(
            [self._render(self._cut(query, self.window), self._cut(text, self.window)) for query, text in pairs]
        )

    def _encode_passages(
        self, pairs: Sequence[tuple[str, str]], max_passages: int, max_document_tokens: int | None
    ) -> Iterator[list[Encoding]]:
        for query, text in pairs:
            query, capacity = self._cut(query, self.window), max(1, self.window - self._n_fixed)
            size = capacity - min(len(self._encode_one(query).ids), capacity // 2) if max_passages > 1 else capacity
            limit = (
                size * max_passages if max_document_tokens is None else min(size * max_passages, max_document_tokens)
            )
            shortened = self._cut(text, limit)
            with guard.native():
                spans = self._plain.encode(shortened, add_special_tokens=False).offsets[:limit]
            starts = range(0, max(1, len(spans)), size)
            passages = [
                shortened[spans[start][0] : spans[min(start + size, len(spans)) - 1][1]] if spans else ""
                for start in starts
            ]
            yield self._tokenize([self._render(query, passage) for passage in passages])
