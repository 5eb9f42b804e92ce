"""No body of a megabyte makes the parser work much longer than the largest right one does."""

import json
import time
from collections.abc import Callable

import pytest

from service.api.body_work import MOST_BLANK_LINES, MOST_COLUMNS, refuse_many_parts
from service.api.invocations.mlflow_protocol import ScoringProtocol
from service.api.members.bodies import Bodies
from service.api.members.schemas import parse
from service.errors import InvalidRequestError, ServiceError
from tests.models.fakes import small_contract

BYTES = 1_000_000
NAMES = [f"view__feature_{number}" for number in range(27)]
BODIES = Bodies.of(small_contract())
PROTOCOL = ScoringProtocol(NAMES, max_rows=1000)
HEADER = ",".join(NAMES).encode()
LISTS = b",".join(b'"%s":[1]' % name.encode() for name in NAMES)
VALUES = b",".join(b'"%s":1' % name.encode() for name in NAMES)
Body = tuple[str, bytes]


def filled(before: bytes, repeated: bytes, after: bytes = b"") -> bytes:
    return before + repeated * ((BYTES - len(before) - len(after)) // len(repeated)) + after


def numbered(before: bytes, form: bytes, after: bytes) -> bytes:
    """As `filled`, every one with another number in it."""
    made, size, number = [], len(before) + len(after), 0
    while size + len(form) + 8 < BYTES:
        made.append(form % number)
        size += len(made[-1]) + 1
        number += 1
    return before + b",".join(made) + after


LARGEST: dict[str, Body] = {
    "csv": ("text/csv", HEADER + (b"\n" + b",".join([b"1234567.890123456789012345678901234"] * 27)) * 1000),
    "split": (
        "application/json",
        b'{"dataframe_split":{"columns":%s,"data":[%s]}}'
        % (
            json.dumps(NAMES).encode(),
            b",".join([b"[%s]" % b",".join([b"1234567.8901234567890123456789012"] * 27)] * 1000),
        ),
    ),
}
HOSTILE: dict[str, Body] = {
    "unknown columns of lists": ("application/json", numbered(b'{"inputs":{' + LISTS + b",", b'"c%d":[1]', b"}}")),
    "unknown columns of values": ("application/json", numbered(b'{"inputs":{' + LISTS + b",", b'"c%d":1', b"}}")),
    "unknown columns of a record": (
        "application/json",
        numbered(b'{"dataframe_records":[{' + VALUES + b",", b'"c%d":1', b"}]}"),
    ),
    "unknown columns of an instance": (
        "application/json",
        numbered(b'{"instances":[{' + VALUES + b",", b'"c%d":1', b"}]}"),
    ),
    "unknown columns of a split": (
        "application/json",
        numbered(b'{"dataframe_split":{"columns":[', b'"c%d"', b'],"data":[[1]]}}'),
    ),
    "one column again and again": (
        "application/json",
        filled(b'{"dataframe_split":{"data":[[1]],"columns":["b"', b',"a"', b"]}}"),
    ),
    "empty lists": ("application/json", filled(b'{"instances":[[]', b",[]", b"]}")),
    "empty objects": ("application/json", filled(b'{"dataframe_records":[{}', b",{}", b"]}")),
    "lists in lists": ("application/json", filled(b'{"inputs":{' + LISTS + b',"x":[[[1]]', b",[[1]]", b"]}}")),
    "deep lists": ("application/json", filled(b'{"inputs":', b"[")),
    "params of lists": ("application/json", filled(b'{"inputs":{' + LISTS + b'},"params":[[]', b",[]", b"]}")),
    "lists between texts": ("application/json", filled(b'{"inputs":[[""]', b',[""]', b"]}")),
    # In its bytes an escaped quote looks like the end of a text, and what is not text like text.
    "lists in UTF-16": (
        "application/json",
        filled(b'{"inputs":{"c":"\\"","d":[[]', b",[]", b"]}}").decode()[: BYTES // 2].encode("utf-16-le"),
    ),
    "blank lines first": ("text/csv", filled(b"", b"\n")),
    "blank lines last": ("text/csv", filled(HEADER + b"\n" + b",".join([b"1"] * 27) + b"\n", b"\n")),
    "blank lines of spaces": ("text/csv", filled(HEADER + b"\n", b" \r\n")),
    "a wide header": ("text/csv", filled(b"", b"a,", HEADER + b"\n1")),
}


def outcome(body: Body) -> int:
    try:
        PROTOCOL.parse(*body)
    except ServiceError as error:
        return error.status
    return 200


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, and of the best of several tries: other processes do not count."""
    best = float("inf")
    for _ in range(5):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return best


@pytest.fixture(scope="module")
def allowed() -> float:
    return 2.5 * max(seconds(lambda body=body: outcome(body)) for body in LARGEST.values())  # type: ignore[misc]


@pytest.mark.parametrize("kind", LARGEST)
def test_the_largest_right_bodies_are_read(kind: str) -> None:
    assert 0.9 * BYTES < len(LARGEST[kind][1]) <= BYTES
    assert 200 == outcome(LARGEST[kind])


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_body_that_is_dear_to_parse_is_refused_at_the_price_of_a_right_one(kind: str, allowed: float) -> None:
    assert len(HOSTILE[kind][1]) <= BYTES

    assert outcome(HOSTILE[kind]) in (400, 413)
    assert seconds(lambda: outcome(HOSTILE[kind])) < allowed


@pytest.mark.parametrize("call", ["predict", "predict_batch"])
@pytest.mark.parametrize(
    "body",
    [
        filled(b'{"customer_id":"1","customer_ids":["1"],"x":[[]', b",[]", b"]}"),
        filled(b'{"customer_id":"1","customer_ids":["1"],"features":{"a":[{}', b",{}", b"]}}"),
        filled(b"[{}", b",{}", b"]"),
        filled(b'{"customer_ids":[[]', b",[]", b"]}"),
        filled(b"", b"["),
    ],
    ids=["unknown member", "override", "array", "ids", "deep"],
)
def test_a_request_of_very_many_lists_is_refused_before_they_are_made(call: str, body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="lists and objects"):
        parse(BODIES.requests.of_call[call], body)


@pytest.mark.parametrize("text", ["[" * 250, "{[" * 125, '\\"[' * 60, "\\\\" * 50 + "[" * 90, '[\\\\\\"{' * 30])
def test_brackets_in_a_customers_id_are_not_counted(text: str) -> None:
    body = b'{"customer_ids":[%s]}' % b",".join([b'"%s"' % text.encode()] * 1000)

    assert [json.loads(f'"{text}"')] * 1000 == parse(BODIES.requests.of_call["predict_batch"], body).model_dump()[
        "keys"
    ]


def test_lists_and_objects_are_counted_exactly() -> None:
    refuse_many_parts(b'[{"a[[": "]\\"[[[[", "b": [{}]}]', 4)
    with pytest.raises(InvalidRequestError):
        refuse_many_parts(b'[{"a[[": "]\\"[[[[", "b": [{}]}]', 3)


def test_as_many_columns_and_blank_lines_as_are_allowed_are_read() -> None:
    more = MOST_COLUMNS - len(NAMES)
    columns = b'{"inputs":{' + LISTS + b"".join(b',"c%d":[[1]]' % number for number in range(more // 4)) + b"}}"
    wide = HEADER + b",a" * more + b"\n" + b",".join([b"1"] * MOST_COLUMNS)

    assert 200 == outcome(("application/json", columns))
    assert 200 == outcome(("text/csv", b"\n" * MOST_BLANK_LINES + wide))
    assert 413 == outcome(("text/csv", b"\n" * (MOST_BLANK_LINES + 1) + wide))
    assert 413 == outcome(("text/csv", wide.replace(b"\n", b",a\n")))
