"""What commands log: lines for people on stdout, or a JSON object per line on stderr."""

import json
import logging
import warnings

import pytest

from artefacts.process.logs import LogFormat, command_logs
from jobs.__main__ import main


def test_people_read_the_lines_as_they_are_from_info_on(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("jobs.features.build")
    with command_logs(("jobs",), "text"):
        log.info("  a view: 3 rows")
        log.warning("it is damaged")
        log.debug("not shown")

    assert ("  a view: 3 rows\nit is damaged\n", "") == capsys.readouterr()


@pytest.mark.filterwarnings("always:old")
def test_json_is_one_object_per_line_also_of_libraries(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://user:password-of-redis@host")
    with command_logs(("jobs",), "json"):
        logging.getLogger("jobs.features.build").info("  two\nlines of password-of-redis")
        logging.getLogger("library").warning("says %s", "so")
        logging.getLogger("library").info("not shown")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.err.splitlines()]
    assert "" == told.out
    assert ["INFO", "WARNING", "WARNING"] == [line["level"] for line in lines]
    assert ["jobs.features.build", "library", "py.warnings"] == [line["logger"] for line in lines]
    assert ["two\nlines of ***", "says so"] == [line["message"] for line in lines[:2]]
    assert {"time", "level", "logger", "message"} == set(lines[0])


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_loggers_are_as_before_when_the_command_has_ended(log_format: LogFormat) -> None:
    logs = [logging.getLogger(), logging.getLogger("jobs")]
    before = [(log.level, log.propagate, log.handlers[:]) for log in logs]

    with command_logs(("jobs",), log_format):
        pass

    assert before == [(log.level, log.propagate, log.handlers) for log in logs]


def test_another_form_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JOBS_LOG_FORMAT", "xml")

    assert 1 == main(["feast-env"])
    assert capsys.readouterr().err.startswith("error: JOBS_LOG_FORMAT")
