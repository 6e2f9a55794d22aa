"""The input file of a batch: its lines, and the check of all of them before any is answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelNotFoundError
from ..models import Models
from ..scheduler.offload import check_number_of_values
from ..schemas import RequestError, brief, parse_json

ENDPOINT = "/v1/embeddings"
MAX_REQUESTS = 50_000
"""Requests in a batch."""
MAX_BATCH_INPUTS = 50_000
"""Inputs of all requests of a batch together."""
MAX_ERRORS = 100
"""Errors of one input file that are reported."""
_EMBEDDED = ("body", "input")


class BatchInputError(Exception):
    """The input file of a batch cannot be read, or has changed since it was checked."""


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A request of a batch; ``start`` and ``end`` are its place in the input, in bytes."""

    start: int
    end: int
    fields: dict[str, Any]

    @property
    def custom_id(self) -> str:
        return str(self.fields["custom_id"])


class InputValidator:
    """Looks at each line of an input before any is answered."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._ids: set[str] = set()
        self._n_inputs = 0
        self.errors: list[dict[str, Any]] = []
        self.model: str | None = None
        self.total = 0

    def line(self, number: int, text: bytes, *, too_long: bool) -> None:
        """Check one line; ``number`` is counted from 1."""
        self.total += 1
        if self.total == MAX_REQUESTS + 1:
            self._error("too_many_requests", f"A batch may have {MAX_REQUESTS:,} requests at most.", number)
        what = "This line is too long." if too_long else "This line is not parseable as valid JSON."
        try:
            fields = None if too_long else _parsed(text)
        except RequestError as error:
            fields = None
            if error.code is not None:
                what = f"This line has too many values. {error}"
        if not isinstance(fields, dict):
            self._error("invalid_json_line", what, number)
            return
        for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
            if not isinstance(fields.get(name), kind):
                missing = fields.get(name) is None
                code = "missing_required_parameter" if missing else "invalid_type"
                what = f"Missing required parameter: '{name}'." if missing else f"Invalid type for '{name}'."
                self._error(code, what, number, name)
                return
        self._fields(fields, number)

    def _fields(self, fields: dict[str, Any], number: int) -> None:
        custom_id, body = fields["custom_id"], fields["body"]
        if custom_id in self._ids:
            what = f"The custom_id '{brief(custom_id)}' for this request is a duplicate of another request."
            what += " The custom_id parameter must be unique for each request in a batch."
            self._error("duplicate_custom_id", what, number, "custom_id")
        self._ids.add(custom_id)
        if fields["method"] != "POST":
            self._error("invalid_method", "The method must be 'POST'.", number, "method")
        if fields["url"] != ENDPOINT:
            what = f"The URL provided for this request does not match the batch endpoint, '{ENDPOINT}'."
            self._error("mismatched_url", what, number, "url")
        model = body.get("model")
        if not isinstance(model, str):
            self._error("missing_required_parameter", "Missing required parameter: 'body.model'.", number, "body.model")
        elif self.model is None:
            self.model = model
            try:
                self._models.card(model)
            except ModelNotFoundError:
                what = f"The provided model '{brief(model)}' is not supported by the Batch API."
                self._error("model_not_found", what, number, "body.model")
        elif model != self.model:
            what = f"The provided model '{brief(model)}' does not match the model of the first request."
            self._error("mismatched_model", what + " All requests of a batch must use one.", number, "body.model")
        before = self._n_inputs
        self._n_inputs += count_inputs(body)
        if before <= MAX_BATCH_INPUTS < self._n_inputs:
            what = f"A batch may have {MAX_BATCH_INPUTS:,} embedding inputs at most, all requests together."
            self._error("too_many_inputs", what, number)

    def end(self) -> None:
        """Check what only the whole file shows."""
        if not self.total:
            self._error("empty_file", "The batch input file is empty. Please provide at least one request.", None)

    def _error(self, code: str, message: str, line: int | None, param: str | None = None) -> None:
        self.errors.append({"code": code, "line": line, "message": message, "param": param})


def raw_lines(path: Path, offset: int, *, limit: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield the lines that are not blank: number (from 1, counted from the offset), content, and byte offset of the end.

    Of a line that is longer than ``limit`` bytes, only the first ``limit + 1`` are in memory and yielded.

    Raises:
        BatchInputError: The file does not exist.
        OSError: It cannot be read.
    """
    number = 0
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise BatchInputError from error
    with file:
        file.seek(offset)
        while line := file.readline(limit + 1):
            offset += len(line)
            number += 1
            rest = line
            while not rest.endswith(b"\n") and (rest := file.readline(limit + 1)):
                offset += len(rest)
            if line.strip():
                yield number, line, offset


def checked_lines(path: Path, offset: int, *, limit: int) -> Iterator[BatchLine]:
    """Yield the requests of a file that was found good.

    Raises:
        BatchInputError: The file does not exist, or has changed.
        OSError: It cannot be read.
    """
    start = offset
    for _, content, end in raw_lines(path, offset, limit=limit):
        try:
            fields = _parsed(content)
        except RequestError as error:
            raise BatchInputError from error
        if not isinstance(fields, dict) or not isinstance(fields.get("custom_id"), str):
            raise BatchInputError
        yield BatchLine(start, end, fields)
        start = end


def _parsed(line: bytes) -> Any:
    check_number_of_values(line)
    return parse_json(line, embedded=_EMBEDDED)


def count_inputs(body: object) -> int:
    """Return how many texts a request embeds."""
    inputs = body.get("input") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or (inputs and type(inputs[0]) is int):
        return 1
    return len(inputs)
