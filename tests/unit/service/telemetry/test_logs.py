"""The log: one JSON object per line, whoever writes, and what a line says of a request."""

import asyncio
import json
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.errors import OnlineStoreUnavailableError
from service.settings import ServiceSettings
from service.telemetry.logs import JsonFormatter, TextFormatter, start_logging
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import Api, OpenApi

NAMES = ("", "service", "bentoml", "circus", "uvicorn.error")


@pytest.fixture
def restored() -> Iterator[None]:
    """Loggers as they were, after a test that sets them up."""
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(log.handlers[:], log.propagate, log.level) for log in loggers]
    yield
    logging.captureWarnings(False)
    for log, (handlers, propagate, level) in zip(loggers, before, strict=True):
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


def start(**settings: object) -> None:
    start_logging(ServiceSettings.model_validate(settings))


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines since the last call; to stdout goes nothing."""
    out, err = capsys.readouterr()
    assert "" == out
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "name", ["service", "service.api.routing", "bentoml.serve", "uvicorn.error", "asyncio", "redis"]
)
def test_whoever_warns_writes_one_json_object(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for taken in NAMES:  # as BentoML leaves them
        logging.getLogger(taken).addHandler(logging.StreamHandler())
    start()

    logging.getLogger(name).warning("two\nlines, a quote \" and what some take for a line's end:\u2028\x85")

    (line,) = written(capsys)
    assert {"time", "level", "logger", "message"} == line.keys()
    assert ("WARNING", name) == (line["level"], line["logger"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    assert line["message"].startswith("two\nlines")


@pytest.mark.usefixtures("restored")
def test_a_traceback_stays_within_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    start()

    try:
        raise RuntimeError("broken\nin two lines")
    except RuntimeError:
        logging.getLogger("service").exception("it failed")

    (line,) = written(capsys)
    assert line["error"].startswith("Traceback (most recent call last):\n")
    assert line["error"].endswith("RuntimeError: broken\nin two lines")


@pytest.mark.usefixtures("restored")
def test_what_python_itself_warns_of_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    start()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)

    assert ["py.warnings"] == [line["logger"] for line in written(capsys)]


@pytest.mark.usefixtures("restored")
def test_what_tornado_warns_of_at_every_sigterm_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    start()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("add_callback_from_signal is deprecated", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)

    assert [] == written(capsys)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    ("level", "seen"),
    [("DEBUG", ["debug", "info", "error"]), ("INFO", ["info", "error"]), ("WARNING", ["error"]), ("ERROR", ["error"])],
)
def test_the_level_is_that_of_the_settings(level: str, seen: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    start(log_level=level)

    for name in ("service.x", "bentoml.x"):
        for word in ("debug", "info", "error"):
            getattr(logging.getLogger(name), word)(word)

    assert seen * 2 == [line["message"] for line in written(capsys)]


@pytest.mark.usefixtures("restored")
def test_text_is_for_people_and_names_the_request_too(capsys: pytest.CaptureFixture[str]) -> None:
    start(log_format="text")

    logging.getLogger("service.x").warning("slow", extra={"request_id": "abc-1", "client": "shop", "status": 503})

    assert re.fullmatch(
        r"\d{4}-\S+ \S+ WARNING service\.x: slow request_id=abc-1 client=shop status=503\n", capsys.readouterr().err
    )


def test_what_cannot_be_json_does_not_lose_the_line() -> None:
    record = logging.LogRecord("service", logging.INFO, "", 0, "half of a pair: %s", ("\ud800",), None)
    record.status = {1, 2}

    for formatter in (JsonFormatter(), TextFormatter()):
        assert "half of a pair" in formatter.format(record)
    assert "{1, 2}" == json.loads(JsonFormatter().format(record))["status"]


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the API logged, as it would be written."""
    ours = [record for record in caplog.records if record.name == "service.api.routing"]
    return [json.loads(JsonFormatter().format(record)) for record in ours]


async def ask(api: Api, customer_id: object = "a") -> httpx.Response:
    headers = {"X-Request-ID": "abc-1", "Authorization": "Bearer planted"}
    return await api.client.post("/predict", json={"customer_id": customer_id}, headers=headers)


@pytest.mark.parametrize(
    ("failure", "level", "message", "status"),
    [
        (OnlineStoreUnavailableError("down"), "WARNING", "predict: online_store_unavailable", 503),
        (RuntimeError("broken"), "ERROR", "predict: internal", 500),
    ],
)
async def test_every_5xx_is_one_line_with_the_request_and_the_client(
    open_api: OpenApi, caplog: pytest.LogCaptureFixture, failure: Exception, level: str, message: str, status: int
) -> None:
    assert status == (await ask(open_api({}, failure=failure))).status_code

    (line,) = lines(caplog)
    assert (level, message, "abc-1", "anonymous", status) == tuple(
        line[name] for name in ("level", "message", "request_id", "client", "status")
    )
    assert (status == 500) == ("Traceback" in line.get("error", ""))
    assert "planted" not in json.dumps(line)


async def test_other_answers_are_logged_only_if_the_settings_say_so(
    open_api: OpenApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service")
    for answered in ("a", "nobody", 7):
        await ask(open_api({"a": live_customer()}), answered)
    assert [] == lines(caplog)

    for answered in ("a", "nobody", 7):
        await ask(open_api({"a": live_customer()}, log_requests=True), answered)

    found = [(line["message"], line["status"], line["client"], line["request_id"]) for line in lines(caplog)]
    assert [
        ("predict: ok", 200, "anonymous", "abc-1"),
        ("predict: unknown_customer", 404, "anonymous", "abc-1"),
        ("predict: invalid_request", 400, "anonymous", "abc-1"),
    ] == found
    assert all(0 < line["seconds"] < 5 for line in lines(caplog))


async def test_a_request_whose_client_has_gone_is_logged_as_cancelled(
    open_api: OpenApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service")
    api = open_api({}, gate=asyncio.Event(), log_requests=True)
    gone = asyncio.ensure_future(ask(api))
    while not api.store.asked:
        await asyncio.sleep(0)

    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone

    assert [("predict: cancelled", 499)] == [(line["message"], line["status"]) for line in lines(caplog)]


async def test_neither_customers_nor_values_are_logged(open_api: OpenApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "service")
    api = open_api({"planted": live_customer(spend=31337.25)}, log_requests=True)

    await ask(api, "planted")
    await api.predict("planted", features={"profile__spend": 31337.25})
    await api.predict("planted", features={"profile__spend": "31337.25"})
    await api.client.post("/explain", json={"customer_id": "planted"})

    assert 4 == len(lines(caplog))
    assert not {word for word in ("planted", "31337") if word in json.dumps(lines(caplog))}


def test_text_for_people_holds_nothing_that_a_terminal_would_obey() -> None:
    record = logging.LogRecord("service", logging.INFO, "", 0, "it says %s", ("\x1b[31mred\u202e\nforged line",), None)
    record.client = "\x9b2J"

    (line,) = TextFormatter().format(record).splitlines()
    assert line.isprintable()
    assert "it says \\x1b[31mred\\u202e\\nforged line client=\\x9b2J" in line
