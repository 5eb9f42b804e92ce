"""Logs of every plane: one JSON object per line, and the lines that people read where a command runs."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic_settings import BaseSettings

from artefacts.process.redaction import redacted, secrets_in

LogFormat = Literal["json", "text"]


class LogSettings(BaseSettings):
    """How a plane's commands log."""

    log_format: LogFormat = "text"
    """`json` logs one JSON object per line to stderr, `text` prints lines for people to stdout."""


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`, what `about` adds, and `error`, which is a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets = secrets_in(os.environ)

    def about(self, record: logging.LogRecord) -> Mapping[str, Any]:  # noqa: ARG002  # planes add to it
        """Further members."""
        return {}

    def message(self, record: logging.LogRecord) -> str:
        """The text of the line."""
        return record.getMessage()

    def format(self, record: logging.LogRecord) -> str:
        """One line, in ASCII: some readers take letters beyond it for the end of a line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(self.message(record), self._secrets),
            **self.about(record),
        }
        if record.exc_info:
            line["error"] = redacted(self.formatException(record.exc_info), self._secrets)
        return json.dumps(line, default=str)


@contextmanager
def command_logs(rooms: Sequence[str], log_format: LogFormat) -> Iterator[None]:
    """Show from INFO on what these rooms log; as JSON also what libraries log and warn of.

    Args:
        rooms: packages whose modules log under their own names.
    """
    loggers = [logging.getLogger(room) for room in rooms]
    shown = [logging.getLogger()] if log_format == "json" else loggers
    before = [(log, log.level, log.propagate, list(log.handlers)) for log in {*loggers, *shown}]
    for log in loggers:
        log.setLevel(logging.INFO)
    for log in shown:
        log.handlers[:] = [_Json() if log_format == "json" else _Text()]
        log.propagate = False
    if log_format == "json":
        logging.captureWarnings(True)
    try:
        yield
    finally:
        if log_format == "json":
            logging.captureWarnings(False)
        for log, level, propagate, handlers in before:
            log.setLevel(level)
            log.propagate = propagate
            log.handlers[:] = handlers


class _Text(logging.Handler):
    """Prints the message alone: a command's user knows who speaks, and when."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


class _Json(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_WithoutIndentation())

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class _WithoutIndentation(JsonFormatter):
    def message(self, record: logging.LogRecord) -> str:
        return super().message(record).strip()
