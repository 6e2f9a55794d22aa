"""The server's log: a line of text or of JSON for each request and each thing that went wrong, never what a client sent."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum

from .json_text import write_json


class LogFormat(StrEnum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # The class alone: an error's message might hold a client's text.
            line["error"] = record.exc_info[0].__name__
        return write_json(line).decode("utf-8")


def set_up(level: str, form: LogFormat) -> None:
    """Write the log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    if form is LogFormat.JSON:
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
