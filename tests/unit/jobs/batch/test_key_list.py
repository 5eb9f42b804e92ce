"""Lists of keys of any type, with values of categories and of requests."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contract import Resolver
from contract.values.overrides import KEPT_NULL
from jobs.batch.key_list import KeyList, read_key_list, without_values
from jobs.errors import JobError
from tests.models.typed import BALANCE, DEFAULTS, REGION, SEGMENT, typed_contract

CONTRACT = typed_contract()
RESOLVER = Resolver.of(CONTRACT)


def read(folder: Path, text: str, name: str = "keys.csv") -> KeyList:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return read_key_list(file, CONTRACT, RESOLVER)


def keys_of(found: KeyList) -> list[tuple[int, str]]:
    return [(row["customer_id"], row["merchant_id"]) for row in found.keys.to_pylist()]


def test_rows_are_sorted_by_all_keys_and_keep_their_values(tmp_path: Path) -> None:
    found = read(tmp_path, "merchant_id,customer_id,amount,gift\nm2,7,1.5,true\nm1,10,2,false\nm1,7,3,\n")

    assert [(7, "m1"), (7, "m2"), (10, "m1")] == keys_of(found)
    assert [3.0, 1.5, 2.0] == found.given["amount"]
    assert [False, True, False] == found.given["gift"]
    assert [datetime(2025, 6, 15, 12, tzinfo=UTC)] * 3 == found.given["at"]


def test_an_empty_cell_gives_no_value_of_a_category_either(tmp_path: Path) -> None:
    found = read(tmp_path, f"customer_id,merchant_id,amount,{SEGMENT}\n1,a,1,senior\n2,a,1,\n3,a,1,nobody\n")

    (values,) = found.overrides.values()
    np.testing.assert_array_equal([1.0, np.nan, -1.0], values)


def test_a_category_of_texts_may_be_of_digits(tmp_path: Path) -> None:
    found = read(tmp_path, f"customer_id,merchant_id,amount,{SEGMENT}\n1,a,1,007\n2,a,1,7\n")

    (values,) = found.overrides.values()
    np.testing.assert_array_equal([-1.0, -1.0], values)


def test_a_range_of_keys_is_by_the_first_value_that_differs(tmp_path: Path) -> None:
    found = read(tmp_path, "customer_id,merchant_id,amount\n1,b,1\n1,c,1\n2,a,1\n-5,z,1\n")

    assert [(1, "c"), (2, "a")] == keys_of(found.between((1, "c"), None))
    assert [(-5, "z"), (1, "b")] == keys_of(found.between(None, (1, "c")))
    assert [(1, "b"), (1, "c")] == keys_of(found.between((1, "a"), (2, "a")))


def test_a_key_beyond_2_to_the_53_is_read_exactly(tmp_path: Path) -> None:
    file = tmp_path / "keys.parquet"
    pd.DataFrame({"customer_id": [2**63 - 1], "merchant_id": ["m"], "amount": [1.0]}).to_parquet(file)

    assert [(2**63 - 1, "m")] == keys_of(read_key_list(file, CONTRACT, RESOLVER))
    assert [(2**53 + 1, "m")] == keys_of(read(tmp_path, f"customer_id,merchant_id,amount\n{2**53 + 1},m,1\n"))


def test_a_time_of_parquet_is_the_time_that_a_request_would_give(tmp_path: Path) -> None:
    file, at = tmp_path / "keys.parquet", pd.Timestamp("2026-01-31T12:00:00.25+01:00")
    pd.DataFrame({"customer_id": [1], "merchant_id": ["m"], "amount": [1.0], "at": [at]}).to_parquet(file)

    assert [datetime(2026, 1, 31, 11, tzinfo=UTC)] == read_key_list(file, CONTRACT, RESOLVER).given["at"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("customer_id,amount\n1,1\n", "has no column 'merchant_id'"),
        ("customer_id,merchant_id,amount\nx1,m,1\n", "column customer_id, row 1: expected a key of type int64"),
        (f"customer_id,merchant_id,amount\n1,m,1\n{2**63},m,1\n", "column customer_id, row 2: expected a key of type"),
        ("customer_id,merchant_id,amount\n1,,1\n", "column merchant_id, row 1: expected a key, found none"),
        ("customer_id,merchant_id\n1,m\n", "column amount, row 1: is missing"),
        ("customer_id,merchant_id,amount\n1,m,cheap\n", "column amount, row 1: must be a number"),
        ("customer_id,merchant_id,amount,at\n1,m,1,2026-01-31T12:00\n", "column at, row 1: must be a time with a zone"),
        (f"customer_id,merchant_id,amount,{REGION}\n1,m,1,7\n", f"column {REGION}, row 1: is not one of the model's"),
        ("customer_id,merchant_id,amount\n1,m,1\n1,m,2\n", r"occurs twice, with different features"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(JobError, match=said):
        read(tmp_path, text)


def test_equal_rows_count_once(tmp_path: Path) -> None:
    assert [(1, "m")] == keys_of(read(tmp_path, f"customer_id,merchant_id,amount,{BALANCE}\n1,m,1,\n1,m,1,\n"))


def test_without_a_list_a_value_that_requests_must_give_is_named() -> None:
    with pytest.raises(JobError, match=r"takes 'amount' from the request: .*ENTITIES="):
        without_values(CONTRACT)


def test_a_kept_null_is_an_override_of_its_own() -> None:
    assert {list(DEFAULTS).index(SEGMENT): KEPT_NULL} == RESOLVER.check_overrides({SEGMENT: None})
