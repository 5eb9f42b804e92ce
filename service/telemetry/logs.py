"""The log of a worker: one JSON object per line, whoever wrote it, with the request it is about."""

import logging
import os
import sys
from typing import Any

from artefacts.process import logs
from artefacts.process.printable import printable
from artefacts.process.redaction import redacted, secrets_in
from service.settings import ServiceSettings
from service.telemetry.tracing import trace_ids

_ABOUT_A_REQUEST = ("request_id", "client", "status", "seconds")
_OURS = ("service", "bentoml")
_TAKEN_OVER = (*_OURS, "circus", "uvicorn.error")
"""Loggers that BentoML gives handlers of their own."""
_EVERY_SIGTERM = "add_callback_from_signal is deprecated"
"""What BentoML's supervisor makes tornado warn of whenever it is told to stop."""


class JsonFormatter(logs.JsonFormatter):
    """Of a request also `request_id`, `client`, `status`, `seconds`; `trace_id` and `span_id` while tracing is on."""

    def about(self, record: logging.LogRecord) -> dict[str, Any]:
        """See the class above."""
        return _about(record)


class TextFormatter(logging.Formatter):
    """The same for people, who read it on a terminal; a traceback takes lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = secrets_in(os.environ)

    def formatMessage(self, record: logging.LogRecord) -> str:  # logging's own name
        """The line without the traceback."""
        about = (f"{name}={value}" for name, value in _about(record).items())
        return printable(redacted(" ".join([super().formatMessage(record), *about]), self._secrets))

    def formatException(self, ei: Any) -> str:  # logging's own name
        """The traceback."""
        return printable(redacted(super().formatException(ei), self._secrets), keep="\n")


def _about(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _ABOUT_A_REQUEST if hasattr(record, name)} | trace_ids()


def _tells_something(record: logging.LogRecord) -> bool:
    return _EVERY_SIGTERM not in record.getMessage()


def start_logging(settings: ServiceSettings) -> None:
    """Send what everybody in this process logs to stderr, in place of BentoML's handlers and format."""
    to = logging.StreamHandler(sys.stderr)
    to.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.getLogger().handlers[:] = [to]
    for name in _TAKEN_OVER:
        log = logging.getLogger(name)
        log.handlers.clear()
        log.propagate = True
    for name in _OURS:
        logging.getLogger(name).setLevel(settings.log_level)
    logging.captureWarnings(True)
    # No warnings filter: Feast puts one of its own before it when it is imported.
    logging.getLogger("py.warnings").addFilter(_tells_something)
