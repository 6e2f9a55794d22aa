"""A hosted model behind any OpenAI-compatible API, through the official client: the same commands, somebody else's machine.

The texts leave this machine. ``remote:MODEL`` asks the API that ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` name;
``remote:MODEL@http://host:8000/v1`` names the address itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import numpy as np
import openai

from ..catalog import ModelCard, Part, Role
from ..errors import InputError, RemoteError
from ..settings import Settings
from ..vectors import FloatArray, normalize
from .base import Encoder, Progress

PREFIX = "remote:"
REQUEST_ITEMS = 2048
REQUEST_CHARACTERS = 300_000
"""Characters in a request. A token has one character at least, so that a request stays below 300,000 tokens."""

MAX_RETRIES = 8
"""Tries after the first, with waits that double from half a second to eight, or what Retry-After says."""


class RemoteEncoder(Encoder):
    """A hosted model. Making one sends one short request, to learn the vectors' length.

    Args:
        model: the model's id at the API.
        base_url: the API's address; None is the official one.
        api_key: sent with every request; many servers of one's own take any.
        max_retries: tries after the first one fails for a passing reason (429, 5xx, a connection that breaks).

    Raises:
        RemoteError: the API does not answer, or refuses.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key: str | None,
        max_retries: int = MAX_RETRIES,
        timeout: float = 120.0,
    ) -> None:
        self.name = f"{PREFIX}{model}"
        self._model = model
        self._client = openai.OpenAI(
            api_key=api_key or "none", base_url=base_url, max_retries=max_retries, timeout=timeout
        )
        self._has_key = bool(api_key)
        self.dims = 0
        self.dims = len(self._request(["hello"])[0])

    def _encode(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for start, stop in _requests(texts):
            vectors[start:stop] = self._request(texts[start:stop])
            progress(stop - start)
        return normalize(vectors)

    def _request(self, texts: Sequence[str]) -> FloatArray:
        try:
            # The client asks for base64 by itself and decodes it: a quarter of the bytes of decimal numbers.
            answer = self._client.embeddings.create(model=self._model, input=list(texts))
        except openai.AuthenticationError as error:
            advice = "the key in OPENAI_API_KEY is not good" if self._has_key else "set OPENAI_API_KEY to your key"
            raise RemoteError(f"{self._host} refused: {advice}.") from error
        except openai.NotFoundError as error:
            raise RemoteError(f"{self._host} has no model {self._model!r}: {_reason(error)}") from error
        except openai.APITimeoutError as error:
            raise RemoteError(f"{self._host} did not answer in time. Try again, or give it smaller texts.") from error
        except openai.APIConnectionError as error:
            raise RemoteError(f"{self._host} cannot be reached. Is the address right, and the server up?") from error
        except openai.APIStatusError as error:
            raise RemoteError(f"{self._host} answered {error.status_code}: {_reason(error)}") from error
        rows = sorted(answer.data, key=lambda row: row.index)
        if [row.index for row in rows] != list(range(len(texts))):
            raise RemoteError(f"{self._host} gave {len(rows)} vectors for {len(texts)} texts.")
        lengths = {len(row.embedding) for row in rows}
        if len(lengths) != 1 or (self.dims and lengths != {self.dims}):
            raise RemoteError(f"{self._host} gave vectors of {sorted(lengths)} dimensions, not all of {self.dims}.")
        return np.array([row.embedding for row in rows], dtype=np.float32)

    @property
    def _host(self) -> str:
        return f"{self._client.base_url.scheme}://{self._client.base_url.host}"

    def identity(self) -> dict[str, object]:
        return {"kind": "remote", "host": self._client.base_url.host, "model": self._model, "dims": self.dims}


def remote_model(model_id: str, settings: Settings) -> tuple[ModelCard, RemoteEncoder]:
    """The card and the encoder of ``remote:MODEL`` or ``remote:MODEL@URL``.

    Raises:
        InputError: the id names no model, or no address.
        RemoteError: the API does not answer, or refuses.
    """
    model, _, address = model_id.removeprefix(PREFIX).partition("@")
    if not model:
        raise InputError(f"{model_id!r} names no model; write it like remote:text-embedding-3-small.", param="model")
    if address and urlsplit(address).scheme not in ("http", "https"):
        raise InputError(f"{address!r} is not the address of an API; write it like http://host:8000/v1.", param="model")
    encoder = RemoteEncoder(model, base_url=address or settings.remote_base_url, api_key=settings.remote_api_key)
    card = ModelCard(
        id=model_id,
        dimensions=encoder.dims,
        tokenizer="cl100k_base",
        max_tokens=8191,
        description=f"{model} behind the API of {encoder._host}. Texts are sent there.",
        parts=(Part("remote", 1.0),),
        space=model_id,
    )
    return card, encoder


def _requests(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of texts, each small enough for one request."""
    start = characters = 0
    for place, text in enumerate(texts):
        if place > start and (place - start == REQUEST_ITEMS or characters + len(text) > REQUEST_CHARACTERS):
            yield start, place
            start, characters = place, 0
        characters += len(text)
    yield start, len(texts)


def _reason(error: openai.APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.message)[:300]
