"""The input file of a batch: reading its lines, and validating all of them before any is answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelNotFoundError
from ..errors import RequestError
from ..models import Models
from ..scheduler.offload import check_number_of_values
from ..schemas.fields import abbreviate
from ..schemas.requests import BATCH_ENDPOINT, parse_json

#: Maximum number of requests in a batch.
MAX_REQUESTS = 50_000
#: Maximum number of inputs in a batch, all requests together.
MAX_BATCH_INPUTS = 50_000
#: Maximum number of errors of one input file that are reported.
MAX_ERRORS = 100


class BatchInputError(Exception):
    """The input file of a batch cannot be read, or has changed since it was validated."""


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A request of a batch."""

    #: Offset of the line's first byte in the input file.
    start: int
    #: Offset of the byte after the line.
    end: int
    fields: dict[str, Any]

    @property
    def custom_id(self) -> str:
        """The client's id of the request."""
        return str(self.fields["custom_id"])


class InputValidator:
    """Validates the lines of an input file, and collects the errors."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._ids: set[str] = set()
        self._n_inputs = 0
        self.errors: list[dict[str, Any]] = []
        #: The model of the first request.
        self.model: str | None = None
        #: Number of requests.
        self.total = 0

    def check(self, number: int, text: bytes, *, is_too_long: bool) -> None:
        """Check one line. Line numbers begin with 1."""
        self.total += 1
        if self.total == MAX_REQUESTS + 1:
            self._error("too_many_requests", f"A batch may have {MAX_REQUESTS:,} requests at most.", number)
        message = "This line is too long." if is_too_long else "This line is not parseable as valid JSON."
        try:
            fields = None if is_too_long else _parse_line(text)
        except RequestError as error:
            fields = None
            if error.code is not None:
                message = f"This line has too many values. {error}"
        if not isinstance(fields, dict):
            self._error("invalid_json_line", message, number)
            return
        for name, expected in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
            value = fields.get(name)
            if value is None:
                self._error("missing_required_parameter", f"Missing required parameter: '{name}'.", number, name)
                return
            if not isinstance(value, expected):
                self._error("invalid_type", f"Invalid type for '{name}'.", number, name)
                return
        self._check_fields(fields, number)

    def _check_fields(self, fields: dict[str, Any], number: int) -> None:
        custom_id, body = fields["custom_id"], fields["body"]
        if custom_id in self._ids:
            message = (
                f"The custom_id '{abbreviate(custom_id)}' for this request is a duplicate of another request. The custom_id "
                "parameter must be unique for each request in a batch."
            )
            self._error("duplicate_custom_id", message, number, "custom_id")
        self._ids.add(custom_id)
        if fields["method"] != "POST":
            self._error("invalid_method", "The method must be 'POST'.", number, "method")
        if fields["url"] != BATCH_ENDPOINT:
            message = f"The URL provided for this request does not match the batch endpoint, '{BATCH_ENDPOINT}'."
            self._error("mismatched_url", message, number, "url")
        self._check_model(body.get("model"), number)
        previous = self._n_inputs
        self._n_inputs += count_inputs(body)
        if previous <= MAX_BATCH_INPUTS < self._n_inputs:
            message = f"A batch may have {MAX_BATCH_INPUTS:,} embedding inputs at most, all requests together."
            self._error("too_many_inputs", message, number)

    def _check_model(self, model: object, number: int) -> None:
        param = "body.model"
        if not isinstance(model, str):
            self._error("missing_required_parameter", f"Missing required parameter: '{param}'.", number, param)
        elif self.model is None:
            self.model = model
            try:
                self._models.card(model)
            except ModelNotFoundError:
                message = f"The provided model '{abbreviate(model)}' is not supported by the Batch API."
                self._error("model_not_found", message, number, param)
        elif model != self.model:
            message = (
                f"The provided model '{abbreviate(model)}' does not match the model of the first request. All requests of a "
                "batch must use one model."
            )
            self._error("mismatched_model", message, number, param)

    def finish(self) -> None:
        """Check the file as a whole, after its last line."""
        if not self.total:
            self._error("empty_file", "The batch input file is empty. Please provide at least one request.", None)

    def _error(self, code: str, message: str, line: int | None, param: str | None = None) -> None:
        self.errors.append({"code": code, "line": line, "message": message, "param": param})


def read_lines(path: Path, offset: int, *, limit: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield the number, the content and the end offset of each line that is not blank.

    Args:
        path: The input file.
        offset: Byte offset of the first line, which has number 1.
        limit: Maximum number of bytes of a line. Of a longer line, only the first ``limit + 1`` bytes are read into memory.

    Raises:
        BatchInputError: The file does not exist.
        OSError: The file cannot be read.
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


def read_requests(path: Path, offset: int, *, limit: int) -> Iterator[BatchLine]:
    """Yield the requests of a validated file, from a byte offset on.

    Raises:
        BatchInputError: The file does not exist, or has changed.
        OSError: The file cannot be read.
    """
    start = offset
    for _, content, end in read_lines(path, offset, limit=limit):
        try:
            fields = _parse_line(content)
        except RequestError as error:
            raise BatchInputError from error
        if not isinstance(fields, dict) or not isinstance(fields.get("custom_id"), str):
            raise BatchInputError
        yield BatchLine(start, end, fields)
        start = end


def _parse_line(line: bytes) -> Any:
    check_number_of_values(line)
    return parse_json(line, embedded=[("body", "input")])


def count_inputs(body: object) -> int:
    """Return the number of texts that a request embeds."""
    inputs = body.get("input") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or (inputs and type(inputs[0]) is int):
        return 1
    return len(inputs)
