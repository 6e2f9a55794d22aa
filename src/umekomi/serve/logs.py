"""The server's log: one line of text or of JSON for each request and each event, never what a client sent.

Names in a line may still come from outside, such as the name of a key or a model. Control characters in them are escaped, so that
nothing can fake a line or move the cursor of a terminal that shows the log.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from enum import StrEnum

from ..escaping import json_visible, visible
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
        if location := getattr(record, "location", ""):
            line["location"] = location
        return json_visible(write_json(line).decode("utf-8"))


class _TextFormatter(logging.Formatter):
    """One line for each record. Where an error was raised follows on indented lines, which no other line starts with."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        location = str(getattr(record, "location", ""))
        line = f"{self.formatTime(record)} {record.levelname} {record.getMessage()}"
        if record.exc_info and record.exc_info[0] is not None:
            # Not the error's message: it might hold a client's text.
            line += f" ({record.exc_info[0].__name__})"
            location += "".join(traceback.format_tb(record.exc_info[2]))
        below = "".join(f"\n    {visible(row, is_one_line=True)}" for row in location.splitlines())
        return visible(line, is_one_line=True) + below


def configure_logging(level: str, form: LogFormat) -> None:
    """Write the log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form is LogFormat.JSON else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
