"""A hosted model behind any OpenAI-compatible API, through the official client: the same commands, somebody else's machine.

The texts leave this machine. ``remote:MODEL`` asks the API that ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` name;
``remote:MODEL@http://host:8000/v1`` names the address itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai

from ..catalog import ModelCard, Part, Role
from ..errors import InputError, RemoteError, RemoteUnavailableError
from ..progress import Progress
from ..settings import Settings
from ..vectors.arithmetic import FloatArray, from_base64, normalize
from .base import Encoder
from .forks import guard, never_destroy

PREFIX = "remote:"
OFFICIAL_URL = "https://api.openai.com/v1"
REQUEST_ITEMS = 2048
REQUEST_BYTES = 300_000
"""UTF-8 bytes in a request. A token has one byte at least, so that a request stays below 300,000 tokens in any script."""

MAX_RETRIES = 6
"""Tries after the first, with waits that double from half a second to eight, give or take, or what Retry-After says."""

PROBE_RETRIES = 2
"""Tries after the first of the very first request: an address with a slip in it is told in seconds."""


class RemoteEncoder(Encoder):
    """A hosted model. Making one sends one short request, to learn the vectors' length.

    Unlike the encoders of this machine, it cannot promise the same bytes for the same text: that is the API's affair.

    Args:
        model: the model's id at the API.
        base_url: the API's address; None is the official one.
        api_key: sent with every request; many servers of one's own take any.
        max_retries: tries after the first one fails for a passing reason (408, 409, 429, 5xx, a connection that breaks).
        timeout: seconds that one try may take.
        request_items: texts in one request at most.
        request_bytes: UTF-8 bytes in one request at most; a longer text goes alone.

    Raises:
        RemoteError: the API does not answer, or refuses, or what it answers is not one vector a text.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key: str | None,
        max_retries: int = MAX_RETRIES,
        timeout: float = 60.0,
        request_items: int = REQUEST_ITEMS,
        request_bytes: int = REQUEST_BYTES,
    ) -> None:
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise RemoteError(
                "OPENAI_API_KEY holds a character that no key has, such as the end of a line; set it anew."
            )
        self.name = f"{PREFIX}{model}"
        self._model = model
        self._connect: Callable[[], openai.OpenAI] = partial(
            openai.OpenAI,
            api_key=api_key or "none",
            base_url=base_url or OFFICIAL_URL,
            max_retries=max_retries,
            timeout=timeout,
        )
        self._client = self._connect()
        self._has_key = bool(api_key)
        self._request_items = request_items
        self._request_bytes = request_bytes
        probe = self._client.with_options(max_retries=min(max_retries, PROBE_RETRIES))
        self.dims = self._request(["hello"], client=probe).shape[1]
        guard.register(self)

    def after_fork(self) -> None:
        """Open connections of its own in a forked child: answers to the parent would arrive on the inherited ones."""
        never_destroy(self._client)
        self._client = self._connect()

    @property
    def host(self) -> str:
        """The API's host and port."""
        return str(urlsplit(str(self._client.base_url)).netloc)

    def _encode(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for start, stop in self._ranges(texts):
            rows = self._request(texts[start:stop], client=self._client)
            if rows.shape[1] != self.dims:
                raise RemoteError(f"{self._url} gave vectors of {rows.shape[1]} dimensions, and {self.dims} before.")
            vectors[start:stop] = rows
            progress(stop - start)
        return normalize(vectors)

    def _ranges(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Ranges of texts, each small enough for one request."""
        start = size = 0
        for place, text in enumerate(texts):
            length = len(text.encode("utf-8", "replace"))
            if place > start and (place - start == self._request_items or size + length > self._request_bytes):
                yield start, place
                start, size = place, 0
            size += length
        yield start, len(texts)

    def _request(self, texts: Sequence[str], *, client: openai.OpenAI) -> FloatArray:
        try:
            # base64 is asked for by name: a quarter of the bytes of decimal numbers, and decoded here, where it is checked.
            answer = client.embeddings.create(model=self._model, input=list(texts), encoding_format="base64")
        except openai.AuthenticationError as error:
            advice = (
                "the key in OPENAI_API_KEY is not good there" if self._has_key else "set OPENAI_API_KEY to your key"
            )
            raise RemoteError(f"{self._url} refused: {advice}.") from error
        except openai.NotFoundError as error:
            raise RemoteError(
                f"{self._url} has no model {self._model!r}, or no embeddings at that address: {_reason(error)}"
            ) from error
        except openai.APITimeoutError as error:
            raise RemoteUnavailableError(
                f"{self._url} did not answer in time. Try again, or give it smaller texts."
            ) from error
        except openai.APIConnectionError as error:
            raise RemoteUnavailableError(
                f"{self._url} cannot be reached. Is the address right, and the server up?"
            ) from error
        except openai.APIStatusError as error:
            kind = (
                RemoteUnavailableError if error.status_code in (408, 429) or error.status_code >= 500 else RemoteError
            )
            raise kind(f"{self._url} answered {error.status_code}: {_reason(error)}") from error
        except (openai.OpenAIError, ValueError) as error:
            # The client lets what is not JSON through as the parser's own ValueError.
            raise RemoteError(f"{self._url} gave an answer that cannot be read. Is it an embeddings API?") from error
        return self._matrix(answer, len(texts))

    def _matrix(self, answer: Any, n_texts: int) -> FloatArray:
        """The vectors of an answer in the order of the texts. The client checks nothing of what it was sent."""
        rows = getattr(answer, "data", None) or []
        if len(rows) != n_texts:
            raise RemoteError(f"{self._url} gave {len(rows)} vectors for {n_texts} texts.")
        by_index = {getattr(row, "index", None): getattr(row, "embedding", None) for row in rows}
        if set(by_index) != set(range(n_texts)):
            raise RemoteError(f"{self._url} gave vectors whose indexes are not 0 to {n_texts - 1}.")
        vectors = [self._vector(by_index[index]) for index in range(n_texts)]
        lengths = sorted({len(vector) for vector in vectors})
        if len(lengths) > 1 or lengths == [0]:
            raise RemoteError(f"{self._url} gave vectors of {lengths} dimensions; all must have the same.")
        matrix = np.stack(vectors)
        if not np.isfinite(matrix).all():
            raise RemoteError(f"{self._url} gave a vector with a value that is not a finite number.")
        if not matrix.any(axis=1).all():
            raise RemoteError(f"{self._url} gave a vector of zeros, which no text has.")
        return matrix

    def _vector(self, embedding: object) -> FloatArray:
        try:
            # An API that knows no base64 answers in decimal numbers.
            vector = from_base64(embedding) if isinstance(embedding, str) else np.asarray(embedding, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise RemoteError(f"{self._url} gave a vector that is neither numbers nor base64 of them.") from error
        if vector.ndim != 1:
            raise RemoteError(f"{self._url} gave a row without an embedding.")
        return vector

    @property
    def _url(self) -> str:
        return str(self._client.base_url).rstrip("/")

    def identity(self) -> dict[str, object]:
        return {"kind": "remote", "host": self.host, "model": self._model, "dims": self.dims}


def remote_model(model_id: str, settings: Settings) -> tuple[ModelCard, RemoteEncoder]:
    """The card and the encoder of ``remote:MODEL`` or ``remote:MODEL@URL``.

    Raises:
        InputError: the id names no model, or no address.
        RemoteError: the API does not answer, or refuses.
    """
    # A model's own name may hold an @, so that only one before an address divides.
    model, *rest = re.split(r"@(?=[a-z]+://)", model_id.removeprefix(PREFIX), maxsplit=1)
    address = rest[0] if rest else settings.remote_base_url
    if not model:
        raise InputError(f"{PREFIX} names no model; write it like {PREFIX}text-embedding-3-small.", param="model")
    if address:
        _check_address(address)
    encoder = RemoteEncoder(
        model,
        base_url=address,
        api_key=settings.remote_api_key,
        request_items=settings.remote_batch,
    )
    card = ModelCard(
        id=model_id,
        dimensions=encoder.dims,
        tokenizer="cl100k_base",
        max_tokens=8191,
        description=f"{model} behind the API of {encoder.host}. Texts are sent there.",
        parts=(Part("remote", 1.0),),
        # Not the id: the space is the same whether the address stood in the id or in the environment.
        space=f"{PREFIX}{model}@{encoder.host}",
    )
    return card, encoder


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        secret = parts.username is not None or parts.password is not None
    except ValueError:
        good = secret = False
    if secret:
        # A model's id is written into files and stores; a password must not be.
        raise InputError(
            f"The address of a {PREFIX} model holds a name or a password; set OPENAI_API_KEY to the key instead.",
            param="model",
        )
    if not good:
        raise InputError(
            f"{address!r} is not the address of an API; write it like {PREFIX}MODEL@http://host:8000/v1.", param="model"
        )


def _reason(error: openai.APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.message)[:300]
