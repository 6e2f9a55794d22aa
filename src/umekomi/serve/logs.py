"""The server's log: one line of text or JSON for each request and event. It never contains inputs.

Names in a line, such as the name of a key, may come from outside. Their control characters are escaped, so that they can neither
forge a line nor control a terminal that shows the log.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from enum import StrEnum

from ..escaping import json_visible, visible
from .schemas.json_text import write_json


class LogFormat(StrEnum):
    """The format of a line."""

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
            # The line contains only the class of an error, because its message might contain a client's text.
            line["error"] = record.exc_info[0].__name__
        if location := getattr(record, "location", ""):
            line["location"] = location
        return json_visible(write_json(line).decode("utf-8"))


class _TextFormatter(logging.Formatter):
    """Formats a record as one line, followed by the location of its error on indented lines. No other line is indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        location = str(getattr(record, "location", ""))
        line = f"{self.formatTime(record)} {record.levelname} {record.getMessage()}"
        if record.exc_info and record.exc_info[0] is not None:
            # The message of the error is omitted, because it might contain a client's text.
            line += f" ({record.exc_info[0].__name__})"
            location += "".join(traceback.format_tb(record.exc_info[2]))
        indented = "".join(f"\n    {visible(row, is_one_line=True)}" for row in location.splitlines())
        return visible(line, is_one_line=True) + indented


def configure_logging(level: str, log_format: LogFormat) -> None:
    """Write the log to standard error, from this level upwards."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format is LogFormat.JSON else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
