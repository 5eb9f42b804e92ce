"""The service's own log: one JSON object per line, with the request it is about."""

import json
import logging
import sys
from datetime import UTC, datetime

from service.settings import ServiceSettings

_ABOUT_A_REQUEST = ("request_id", "client", "status")


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`; of a request `request_id`, `client`, `status`; `error` is a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _ABOUT_A_REQUEST if hasattr(record, name)}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def start_logging(settings: ServiceSettings) -> None:
    """Send the service's log to stderr, in place of BentoML's format and without a second copy through it."""
    to = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    to.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
    log = logging.getLogger("service")
    log.handlers[:] = [to]
    log.propagate = False
    log.setLevel(settings.log_level)
