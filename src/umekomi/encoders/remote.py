"""Hosted models behind any OpenAI-compatible API, through OpenAI's client. Texts are sent to another computer.

``remote:MODEL`` uses the API in ``OPENAI_BASE_URL`` with the key in ``OPENAI_API_KEY``; ``remote:MODEL@http://host:8000/v1`` has
its own address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai

from ..catalog import ModelCard, Part
from ..errors import InputError, RemoteError, RemoteUnavailableError
from ..progress import Progress
from ..settings import Settings
from ..vectors.arithmetic import FloatArray, from_base64, normalize
from .base import Encoder
from .forks import guard, never_destroy
from .model_ids import REMOTE_PREFIX

OFFICIAL_URL = "https://api.openai.com/v1"
REQUEST_ITEMS = 2048
REQUEST_BYTES = 300_000
"""Maximum UTF-8 bytes in a request. A token has at least one byte, so a request stays below 300,000 tokens in any script."""

MAX_RETRIES = 6
"""Retries of a request. The delay doubles from 0.5 to 8 seconds, with jitter, unless the API sends Retry-After."""

PROBE_RETRIES = 2
"""Retries of the first request, so that a wrong address is reported within seconds."""


class RemoteEncoder(Encoder):
    """A hosted model. Creating it sends a short request to determine the dimensions.

    Unlike local encoders, it does not guarantee the same bytes for the same text.

    Args:
        model: Id of the model at the API.
        base_url: URL of the API; None is OpenAI's.
        api_key: Key that is sent with every request. Many self-hosted servers accept any.
        max_retries: Retries after a transient failure (408, 409, 429, 5xx, a broken connection).
        timeout: Timeout of one attempt in seconds.
        request_items: Maximum number of texts in one request.
        request_bytes: Maximum UTF-8 bytes in one request. A longer text is sent alone.

    Raises:
        RemoteError: The API does not respond, refuses the request, or does not return one vector for each text.
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
                "OPENAI_API_KEY contains a character that no key has, such as a line break; set it again."
            )
        self.name = f"{REMOTE_PREFIX}{model}"
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
        """Open new connections in a forked child, because responses for the parent would arrive on the inherited ones."""
        never_destroy(self._client)
        self._client = self._connect()

    @property
    def host(self) -> str:
        """The host and port of the API."""
        return str(urlsplit(str(self._client.base_url)).netloc)

    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for start, stop in self._ranges(texts):
            rows = self._request(texts[start:stop], client=self._client)
            if rows.shape[1] != self.dims:
                raise RemoteError(
                    f"{self._url} returned vectors of {rows.shape[1]} dimensions, and {self.dims} before."
                )
            vectors[start:stop] = rows
            progress(stop - start)
        return normalize(vectors)

    def _ranges(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield ranges of texts that are small enough for one request."""
        start = size = 0
        for index, text in enumerate(texts):
            length = len(text.encode("utf-8", "replace"))
            if index > start and (index - start == self._request_items or size + length > self._request_bytes):
                yield start, index
                start, size = index, 0
            size += length
        yield start, len(texts)

    def _request(self, texts: Sequence[str], *, client: openai.OpenAI) -> FloatArray:
        try:
            # base64 has a quarter of the bytes of decimal numbers. It is requested explicitly, because the client would otherwise
            # decode it without checks.
            response = client.embeddings.create(model=self._model, input=list(texts), encoding_format="base64")
        except openai.AuthenticationError as error:
            advice = (
                "the API does not accept the key in OPENAI_API_KEY"
                if self._has_key
                else "set OPENAI_API_KEY to your key"
            )
            raise RemoteError(f"{self._url} refused: {advice}.") from error
        except openai.NotFoundError as error:
            raise RemoteError(
                f"{self._url} has no model {self._model!r}, or no embeddings at this address: {_reason(error)}"
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
            error_type = (
                RemoteUnavailableError if error.status_code in (408, 429) or error.status_code >= 500 else RemoteError
            )
            raise error_type(f"{self._url} answered {error.status_code}: {_reason(error)}") from error
        except (openai.OpenAIError, ValueError) as error:
            # The client raises the ValueError of its JSON parser for other content.
            raise RemoteError(f"{self._url} sent a response that cannot be read. Is it an embeddings API?") from error
        return self._matrix(response, len(texts))

    def _matrix(self, response: Any, n_texts: int) -> FloatArray:
        """Return the vectors of a response in the order of the texts. The client does not check the response."""
        rows = getattr(response, "data", None) or []
        if len(rows) != n_texts:
            raise RemoteError(f"{self._url} returned {len(rows)} vectors for {n_texts} texts.")
        by_index = {getattr(row, "index", None): getattr(row, "embedding", None) for row in rows}
        if set(by_index) != set(range(n_texts)):
            raise RemoteError(f"{self._url} returned vectors whose indexes are not 0 to {n_texts - 1}.")
        vectors = [self._vector(by_index[index]) for index in range(n_texts)]
        lengths = sorted({len(vector) for vector in vectors})
        if len(lengths) > 1 or lengths == [0]:
            raise RemoteError(f"{self._url} returned vectors of {lengths} dimensions; all must have the same.")
        matrix = np.stack(vectors)
        if not np.isfinite(matrix).all():
            raise RemoteError(f"{self._url} returned a vector with a value that is not a finite number.")
        if not matrix.any(axis=1).all():
            raise RemoteError(f"{self._url} returned a vector of zeros.")
        return matrix

    def _vector(self, embedding: object) -> FloatArray:
        try:
            # Some APIs do not support base64 and return decimal numbers.
            vector = from_base64(embedding) if isinstance(embedding, str) else np.asarray(embedding, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise RemoteError(f"{self._url} returned a vector that is neither numbers nor base64 of them.") from error
        if vector.ndim != 1:
            raise RemoteError(f"{self._url} returned a row without an embedding.")
        return vector

    @property
    def _url(self) -> str:
        return str(self._client.base_url).rstrip("/")

    def identity(self) -> dict[str, object]:
        return {"kind": "remote", "host": self.host, "model": self._model, "dims": self.dims}


def remote_model(model_id: str, settings: Settings) -> tuple[ModelCard, RemoteEncoder]:
    """Return the card and the encoder of ``remote:MODEL`` or ``remote:MODEL@URL``.

    Raises:
        InputError: The id has no model, or an invalid address.
        RemoteError: The API does not respond, or refuses the request.
    """
    # The name of a model may contain an @, so only one that precedes a URL separates the two.
    model, *rest = re.split(r"@(?=[a-z]+://)", model_id.removeprefix(REMOTE_PREFIX), maxsplit=1)
    address = rest[0] if rest else settings.remote_base_url
    if not model:
        raise InputError(
            f"{REMOTE_PREFIX} names no model; write it like {REMOTE_PREFIX}text-embedding-3-small.", param="model"
        )
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
        description=f"{model} behind the API of {encoder.host}. Texts are sent to it.",
        parts=(Part("remote", 1.0),),
        # Not the id, because the address may be in the id or in the environment.
        space=f"{REMOTE_PREFIX}{model}@{encoder.host}",
    )
    return card, encoder


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        has_secret = parts.username is not None or parts.password is not None
    except ValueError:
        is_valid = has_secret = False
    if has_secret:
        # The id of a model is written to files and stores.
        raise InputError(
            f"The address of a {REMOTE_PREFIX} model contains a user name or a password; set OPENAI_API_KEY to the key instead.",
            param="model",
        )
    if not is_valid:
        raise InputError(
            f"{address!r} is not the address of an API; write it like {REMOTE_PREFIX}MODEL@http://host:8000/v1.",
            param="model",
        )


def _reason(error: openai.APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.message)[:300]
