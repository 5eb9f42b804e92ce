"""What no client library sends: bytes that are no JSON, numbers that are none, headers that nobody should write.

tests/e2e/test_openapi.py has the requests that a document can describe.
"""

import gzip
import http.client
import json
import os
import pickle
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.loop import Loop

SPEND, COUNT = b"customer_lifetime__total_spend", b"customer_lifetime__order_count"
CALLS = ("/predict", "/predict_batch", "/explain", "/invocations")
ANSWERED = {200, 400, 404, 413, 415, 422}

NUMBERS = [
    *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e-400", b"3.5e38", b"-0.0", b"1e18", b"1e19"),
    *(b"1" * 5000, b"-" + b"9" * 4000, b"0." + b"0" * 5000 + b"1", b"9223372036854775808", b"-9223372036854775809"),
    *(b"01", b"+1", b".5", b"5.", b"0x10", b"1_000", b"true", b"null", b"[1]", b"{}", b'"1"', b"2.5", b"3.0"),
]
TEXTS = [
    *(rb'"\ud800"', rb'"\udfff\ud800"', rb'"\ud83d\ude00"', rb'"\u0000"', rb'"a\u0000b"', b'"\x00"', b'"\n"'),
    *(b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', rb'"\x00"', b'""', b'" "', b'"\xe2\x80\xae"', b'"\xef\xbf\xbe"'),
    *(b'"%s"' % (b"a" * 257), '"€"'.encode(), b'"%s"' % ("😀".encode() * 256), b'"*"', b'"{id}"', rb'"\/"'),
]
DEEP_LIST = b"[" * 100_000 + b"]" * 100_000
DEEP_OBJECT = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
GOOD = b'{"customer_id":"00042"}'
WHOLE = [
    *(b"", b" ", b"\x00", b"null", b"1", b'"x"', b"[]", b"{}", b"{", b"\xff\xfe\x00", b"\x1f\x8b\x08\x00", b'"' * 9999),
    *(DEEP_LIST, DEEP_OBJECT, b'{"customer_id":%s}' % DEEP_LIST, b'{"instances":%s}' % DEEP_LIST),
    *(b'{"customer_id":"00042","features":%s}' % DEEP_OBJECT, b'{"inputs":%s}' % DEEP_OBJECT),
    *(b"\xef\xbb\xbf" + GOOD, GOOD.decode().encode("utf-16"), GOOD + b"x", GOOD + GOOD, GOOD.replace(b'"', b"'")),
    *(b'{"customer_id":"00042",}', b'{"customer_id":"00042"/**/}', b'{"customer_id":1,"customer_id":"00042"}'),
    *(b'{"customer_ids":[],"customer_ids":1}', b'{"dataframe_split":{"columns":[],"data":[]}}'),
    *(b'{"instances":[]}', b'{"inputs":{}}', b'{"inputs":null}'),
]
MEANINGFUL = b'{}[]",:\\-e.0\x00\xff'


class Connection:
    """One keep-alive connection: an answer that breaks the exchange breaks the next one too."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(address.hostname), int(address.port or 80), timeout=20)

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> int:
        """The status, after checking that the answer is one of the designed ones."""
        self._connection.request("POST", path, body, {"Content-Type": content_type})
        response = self._connection.getresponse()
        raw = response.read()
        assert response.status in ANSWERED, (path, body[:200], response.status, raw[:300])
        answer = json.loads(raw.decode("utf-8"), parse_constant=lambda literal: pytest.fail(f"{literal} is no JSON"))
        if response.status != 200:
            assert {"code", "message", "request_id"} <= answer["error"].keys(), raw
            assert len(raw) < 2000, "an error must not send the request back"
        return response.status

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def connection(loop: Loop) -> Iterator[Connection]:
    opened = Connection(loop.url)
    yield opened
    opened.close()


def inputs(loop: Loop) -> list[bytes]:
    return [feature["name"].encode() for feature in loop.call("GET", "/model").body["contract"]["inputs"]]


def with_ids(text: bytes) -> list[bytes]:
    return [
        b'{"customer_id":%s}' % text,
        b'{"customer_ids":["00042",%s,"00042"]}' % text,
        b'{"customer_ids":%s}' % text,
        b'{"customer_id":"00042","features":{%s:1}}' % text,
        b'{%s:1,"customer_id":"00042"}' % text,
    ]


def with_override(number: bytes) -> list[bytes]:
    return [b'{"customer_id":"00042","features":{"%s":%s}}' % (name, number) for name in (SPEND, COUNT, b"nope")]


def with_cell(names: list[bytes], cell: bytes) -> list[bytes]:
    """Every form of MLflow's protocol with one odd cell, then with one in a column that the model does not take."""
    ones = [b"1"] * (len(names) - 1)
    columns = b",".join(b'"%s"' % name for name in names)
    split = b'{"dataframe_split":{"columns":[%s],"data":[[%s]]}}' % (columns, b",".join([cell, *ones]))
    record = b",".join(b'"%s":%s' % pair for pair in zip(names, [cell, *ones], strict=True))
    extra = b",".join(b'"%s":1' % name for name in names) + b',"extra":%s' % cell
    return [split] + [
        form % row
        for row in (record, extra)
        for form in (b'{"dataframe_records":[{%s}]}', b'{"instances":[{%s}]}', b'{"inputs":{%s}}', b'{"inputs":[{%s}]}')
    ]


def test_no_body_makes_a_call_fail(loop: Loop, connection: Connection) -> None:
    names = inputs(loop)
    bodies = [
        *WHOLE,
        *(body for number in NUMBERS for body in with_override(number) + with_ids(number) + with_cell(names, number)),
        *(body for text in TEXTS for body in with_ids(text) + with_cell(names, text)),
    ]

    statuses = {connection.post(path, body) for body in bodies for path in CALLS}

    assert {200, 400, 404} <= statuses


def test_no_csv_makes_invocations_fail(loop: Loop, connection: Connection) -> None:
    names = inputs(loop)
    header, row = b",".join(names), b",".join([b"1"] * len(names))
    odd = [row[1:], row + b",1", row.replace(b"1", b"\x00", 1), b'"' + row, row.replace(b"1", b"1e400", 1), b"\xff"]
    bodies = [body for line in (row, *odd) for body in (header + b"\n" + line, header + b"\r\n" + line + b"\r\n", line)]

    statuses = {connection.post("/invocations", body, "text/csv") for body in (*bodies, header, header + b"\x00")}

    assert {200, 400} == statuses


def test_no_damage_to_a_good_body_makes_a_call_fail(loop: Loop, connection: Connection) -> None:
    """Bytes are cut out, doubled, or replaced by ones that mean something in JSON."""
    chance = random.Random(5)
    whole = [
        ("/predict", b'{"customer_id":"00042","features":{"%s":12.5,"%s":3}}' % (SPEND, COUNT)),
        ("/predict_batch", b'{"customer_ids":["00042","00007","00042"]}'),
        *(("/invocations", body) for body in with_cell(inputs(loop), b"1.5")),
    ]

    statuses = set()
    for _ in range(1500):
        path, body = chance.choice(whole)
        damaged = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            at, length = chance.randrange(len(damaged)), chance.randint(1, 6)
            piece = bytes(damaged[at : at + length])
            damaged[at : at + length] = chance.choice([b"", piece * 2, bytes(chance.choices(MEANINGFUL, k=length))])
        statuses.add(connection.post(path, bytes(damaged)))

    assert {200, 400} <= statuses


def exchange(loop: Loop, request: bytes, *, hang_up: bool = False) -> tuple[int, bytes]:
    """Status and all else of the answer to raw bytes; 0 if the connection was closed without one."""
    address, answer = urlsplit(loop.url), b""
    with socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=20) as connection:
        with suppress(ConnectionError):  # a server may close before it has read all
            connection.sendall(request)
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    return (int(answer[9:12]) if answer else 0), answer


def get(path: bytes) -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path


def post(path: bytes, *headers: bytes, body: bytes = GOOD, length: int | None = None, version: bytes = b"1.1") -> bytes:
    told = b"Content-Length: %d" % (len(body) if length is None else length)
    lines = [b"POST %s HTTP/%s" % (path, version), b"Host: x", b"Connection: close", told, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (200, post(b"/predict")),
        (200, post(b"/predict", version=b"1.0")),
        (200, post(b"http://elsewhere/predict")),
        (200, post(b"/predict?customer_id=%00&%ff")),
        (200, post(b"/predict", b"Content-Type: application/json", b"Content-Type: text/csv")),
        (200, post(b"/predict", b"Content-Type: application/json; charset=\xff")),
        (415, post(b"/predict", b"Content-Type: \xff\xfe")),
        (415, post(b"/predict", b"Content-Type: " + b"a" * 10_000)),
        (415, post(b"/predict", b"Content-Encoding: gzip", body=gzip.compress(GOOD))),
        (415, post(b"/invocations")),
        (415, post(b"/invocations", b"Content-Type: \xff\xfe")),
        (200, post(b"/predict", b"Authorization: \xff")),
        (200, post(b"/predict", b"X-Request-ID: \xff\xfe", b"X-Request-ID: two words")),
        (200, post(b"/predict", b"traceparent: 00-zz-\xff-01", b"tracestate: " + b"=," * 500)),
        (100, post(b"/predict", b"Expect: 100-continue")),
        (404, post(b"/predict%00")),
        (404, post(b"/%ff%fe")),
        (404, post(b"//predict")),
        (404, post(b"/predict/")),
        (405, post(b"/static_content/%00")),
        (404, get(b"/static_content/%00")),
        (404, get(b"/static_content/..%2f..%2f..%2fetc/passwd")),
        (431, post(b"/predict", b"X-Long: " + b"a" * 66_000)),
        (400, post(b"/predict", length=2)),
        (400, b"BREW /predict HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        (400, b"GET / HTTP/9.9\r\n\r\n"),
    ],
)
def test_an_odd_request_is_answered_or_refused_and_the_next_one_is_answered(
    loop: Loop, status: int, sent: bytes
) -> None:
    found, answer = exchange(loop, sent)

    assert status == found, answer[:500]
    assert b"Traceback" not in answer
    assert 200 == loop.call("POST", "/predict", {"customer_id": "00042"}).status


class LeavesAFolder:
    """Unpickling it leaves a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("path", [*CALLS, "/", "/readyz", "/schema.json", "/docs.json", "/anything"])
@pytest.mark.parametrize("content_type", [b"application/vnd.bentoml+pickle", b"multipart/form-data; boundary=x"])
def test_no_content_type_has_a_body_unpickled(loop: Loop, tmp_path: Path, path: str, content_type: bytes) -> None:
    """BentoML's own endpoints have unpickled bodies of such a type (CVE-2024-2912, CVE-2025-27520)."""
    body = pickle.dumps(LeavesAFolder(tmp_path / "ran"))
    headers = (b"Content-Type: " + content_type, b"Payload-Container: NdarrayContainer", b"Payload-Meta: {}")

    status, _ = exchange(loop, post(path.encode(), *headers, body=body))

    assert status in (404, 405, 415)
    assert not (tmp_path / "ran").exists()


def test_a_body_that_ends_early_does_no_harm(loop: Loop) -> None:
    found, answer = exchange(loop, post(b"/predict", length=len(GOOD) + 1), hang_up=True)

    assert 0 == found, answer
    assert 200 == loop.call("POST", "/predict", {"customer_id": "00042"}).status


def test_a_header_of_a_megabyte_is_not_taken_and_does_no_harm(loop: Loop) -> None:
    found, answer = exchange(loop, post(b"/predict", b"X-Long: " + b"a" * 1_000_000))

    assert found == 431, answer[:500]
    assert 200 == loop.call("POST", "/predict", {"customer_id": "00042"}).status
