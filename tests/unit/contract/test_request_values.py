from datetime import UTC, datetime

import numpy as np
import pytest

from contract import OverrideError, RequestInput
from contract.values.request_values import asked_of, checked_inputs

AMOUNT = RequestInput(name="amount", dtype="float32", filled_by="request")
COUNTRY = RequestInput(name="country", dtype="string", filled_by="request", default="FR")
AT = RequestInput(name="at", dtype="unixtimestamp", filled_by="request", default="2026-01-01T00:00:00Z")
ITEMS = RequestInput(name="items", dtype="int32", filled_by="request", default=1)
GIFT = RequestInput(name="gift", dtype="bool", filled_by="request", default=False)
NOW = RequestInput(name="now", dtype="int64", filled_by="request_time_unix_us")
ASKED = asked_of((NOW, AMOUNT, COUNTRY, AT, ITEMS, GIFT))


def test_the_request_is_not_asked_for_its_own_time() -> None:
    assert (AMOUNT, COUNTRY, AT, ITEMS, GIFT) == ASKED


def test_values_become_what_feast_gives_and_defaults_stand_in_for_others() -> None:
    assert {
        "amount": float(np.float32(12.1)),
        "country": "FR",
        "at": datetime(2026, 1, 31, 11, tzinfo=UTC),
        "items": 3,
        "gift": False,
    } == checked_inputs({"at": "2026-01-31T12:00:00.75+01:00", "items": 3.0, "amount": 12.1}, ASKED)


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({}, "inputs.amount", "is missing"),
        ({"amount": None}, "inputs.amount", "is missing"),
        ({"amount": "12"}, "inputs.amount", "must be a number"),
        ({"amount": True}, "inputs.amount", "must be a number"),
        ({"amount": 1e39}, "inputs.amount", "finite number within the range of float32"),
        ({"amount": 10**400}, "inputs.amount", "finite number"),
        ({"amount": float("nan")}, "inputs.amount", "finite number"),
        ({"amount": 1, "items": 1.5}, "inputs.items", "whole number"),
        ({"amount": 1, "items": float("inf")}, "inputs.items", "whole number"),
        ({"amount": 1, "items": 2**31}, "inputs.items", "out of range for int32"),
        ({"amount": 1, "country": 7}, "inputs.country", "must be text"),
        ({"amount": 1, "gift": 1}, "inputs.gift", "true or false"),
        ({"amount": 1, "at": "2026-01-31T12:00:00"}, "inputs.at", "with a zone"),
        ({"amount": 1, "at": "yesterday"}, "inputs.at", "with a zone"),
        ({"amount": 1, "at": 1_700_000_000}, "inputs.at", "with a zone"),
        ({"amount": 1, "at": "0001-01-01T00:00:00+14:00"}, "inputs.at", "out of range"),
        ({"amount": 1, "now": 5}, "inputs.now", "not asked for"),
        ({"amount": 1, "price": 5}, "inputs.price", "not asked for"),
    ],
)
def test_what_does_not_fit_is_named(values: dict[str, object], field: str, said: str) -> None:
    with pytest.raises(OverrideError, match=said) as caught:
        checked_inputs(values, ASKED)

    assert field == caught.value.field
