"""What the server stores about files and batches, and how a batch is written to the database."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from ..json_text import read_json, replace_lone_surrogates, write_json


class BatchStatus(StrEnum):
    """The states of a batch. The last four of a row's life are final."""

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
        """Whether nothing more will happen."""
        return self in (BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file. Times are in seconds since 1970; ``owner`` is the name of the key that it came with."""

    id: str
    owner: str
    purpose: str
    filename: str
    bytes: int
    created_at: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch, and how far it has come.

    ``times`` holds when each state was reached. ``offset`` is how many bytes of the input are done, ``output_bytes`` and
    ``error_bytes`` how many of the results belong to them: what is past those was written by a process that was killed
    before it could say so. ``outcome`` is the final state on the way to which the batch is. ``input_bytes`` is the size of the
    input, which stays on disk until the batch is finished even if its file is deleted.
    """

    id: str
    owner: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    expires_at: int
    output_file_id: str
    error_file_id: str
    status: BatchStatus = BatchStatus.VALIDATING
    outcome: BatchStatus = BatchStatus.COMPLETED
    model: str | None = None
    metadata: dict[str, str] | None = None
    output_seconds: int | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)
    total: int = 0
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    offset: int = 0
    output_bytes: int = 0
    error_bytes: int = 0
    input_bytes: int = 0

    def turned(self, status: BatchStatus, now: float) -> Batch:
        """The batch in another state."""
        return replace(self, status=status, times={**self.times, f"{status}_at": int(now)})


_TYPES = {"str": str, "int": int, "dict": dict, "list": list, "BatchStatus": str}


def write_batch(batch: Batch) -> str:
    """Return a batch as the text that the database keeps."""
    return write_json(asdict(batch)).decode("utf-8")


def read_batch(batch_id: str, owner: str, text: str) -> Batch:
    """Return the batch of a database row.

    A row never makes a response fail, whatever wrote it: lone surrogates become U+FFFD, unknown fields are ignored, and a record
    that cannot be read is a failed batch that says so.
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
        what = "The record of this batch cannot be read. Its files, if there are any, are listed by GET /v1/files."
        error = {"code": "record_unreadable", "line": None, "message": what, "param": None}
        return Batch(
            batch_id, owner, "/v1/embeddings", "", "24h", 0, 0, "", "", status=BatchStatus.FAILED, errors=[error]
        )  # fmt: skip
