"""Files and batches as the server stores them, and their JSON for the database and for responses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from ..schemas.json_text import read_json, replace_lone_surrogates, write_json


class BatchStatus(StrEnum):
    """The states of a batch."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the batch no longer changes."""
        return self in (BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file."""

    id: str
    #: Name of the key that it belongs to.
    owner: str
    purpose: str
    filename: str
    #: Size in bytes.
    bytes: int
    #: Seconds since 1970.
    created_at: int
    #: Seconds since 1970, or None if the file does not expire.
    expires_at: int | None = None

    def to_response(self) -> dict[str, Any]:
        """Return the file object of the API."""
        values = asdict(self)
        del values["owner"]
        return {**values, "object": "file", "status": "processed", "status_details": None}


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch and its progress."""

    id: str
    #: Name of the key that it belongs to.
    owner: str
    endpoint: str
    input_file_id: str
    completion_window: str
    #: Seconds since 1970.
    created_at: int
    #: Seconds since 1970.
    expires_at: int
    output_file_id: str
    error_file_id: str
    status: BatchStatus = BatchStatus.VALIDATING
    #: The final state that the batch will reach.
    outcome: BatchStatus = BatchStatus.COMPLETED
    model: str | None = None
    metadata: dict[str, str] | None = None
    #: Seconds after which the results expire, or None.
    output_seconds: int | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    #: When each state was reached, in seconds since 1970.
    times: dict[str, int] = field(default_factory=dict)
    #: Number of requests.
    total: int = 0
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    #: Number of bytes of the input that have been answered.
    offset: int = 0
    #: Bytes of the output file that belong to answered lines. A killed process may have written more.
    output_bytes: int = 0
    #: Bytes of the error file that belong to answered lines.
    error_bytes: int = 0
    #: Size of the input, which stays on disk until the batch is finished even if its file is deleted.
    input_bytes: int = 0

    def with_status(self, status: BatchStatus, now: float) -> Batch:
        """Return the batch in another state, reached at ``now``."""
        return replace(self, status=status, times={**self.times, f"{status}_at": int(now)})

    def to_response(self) -> dict[str, Any]:
        """Return the batch object of the API."""
        is_final = self.status.is_final
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id if is_final and self.output_bytes else None,
            "error_file_id": self.error_file_id if is_final and self.error_bytes else None,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            **{f"{status}_at": self.times.get(f"{status}_at") for status in list(BatchStatus)[1:]},
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "usage": {
                "input_tokens": self.tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 0,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.tokens,
            },
            "metadata": self.metadata,
        }


_TYPES = {"str": str, "int": int, "dict": dict, "list": list, "BatchStatus": str}


def write_batch(batch: Batch) -> str:
    """Return a batch as JSON for the database."""
    return write_json(asdict(batch)).decode("utf-8")


def read_batch(batch_id: str, owner: str, text: str) -> Batch:
    """Return the batch of a database row.

    No row makes a response fail, whatever wrote it: lone surrogates become U+FFFD, unknown fields are ignored, and an unreadable
    record becomes a failed batch with an error that says so.
    """
    content = text.encode("utf-8", "replace")
    try:
        record = read_json(replace_lone_surrogates(content))
        values: dict[str, Any] = {each.name: record[each.name] for each in fields(Batch) if each.name in record}
        for each in fields(Batch):
            value = values.get(each.name, 0 if each.name == "input_bytes" else None)
            declared = str(each.type)
            if not (value is None and declared.endswith("None")) and not isinstance(
                value, _TYPES[declared.partition(" ")[0].partition("[")[0]]
            ):
                raise ValueError(each.name)
        states = {name: BatchStatus(values[name]) for name in ("status", "outcome")}
        return Batch(**{**values, **states, "id": batch_id, "owner": owner})
    except (ValueError, TypeError):
        message = "The record of this batch cannot be read. Its files, if there are any, are listed by GET /v1/files."
        error = {"code": "record_unreadable", "line": None, "message": message, "param": None}
        return Batch(
            batch_id, owner, "/v1/embeddings", "", "24h", 0, 0, "", "", status=BatchStatus.FAILED, errors=[error]
        )
