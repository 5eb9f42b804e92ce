"""The log of a worker, also of its libraries: one JSON object or text per line, with the request that it is about."""

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
"""A warning of tornado, each time BentoML's supervisor is told to stop."""


class JsonFormatter(logs.JsonFormatter):
    """Adds, of a request: `request_id`, `client`, `status`, `seconds`; if traced, also `trace_id`, `span_id`."""

    def about(self, record: logging.LogRecord) -> dict[str, Any]:
        """See the class above."""
        return _about(record)


class TextFormatter(logging.Formatter):
    """The same as text for people; a traceback has its own lines."""

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
    """Send all logs of this process to stderr; replaces BentoML's handlers and format."""
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
