"""Pseudonyms are the keyed hash that the documentation says, and nothing else."""

import hashlib
import hmac

import duckdb
import pyarrow as pa

from scoring.pseudonyms import FORM, Pseudonyms, are_pseudonyms

KEY = b"0123456789abcdef0123456789abcdef"


def test_a_pseudonym_is_half_of_an_hmac_sha256_in_hex() -> None:
    expected = [f"p:{hmac.new(KEY, name, hashlib.sha256).hexdigest()[:32]}" for name in (b"00042", "Jörg".encode())]

    assert expected == Pseudonyms(KEY).of(["00042", "Jörg"])


def test_the_same_customer_has_the_same_pseudonym_and_another_key_gives_another() -> None:
    here = Pseudonyms(KEY)

    assert here.of(["a", "b"]) == [*here.of(["a"]), *here.of(["b"])]
    assert set(here.of(["a", "b"])).isdisjoint(Pseudonyms(KEY[::-1]).of(["a", "b"]))


def test_a_number_has_the_pseudonym_of_its_decimal_text() -> None:
    pseudonyms = Pseudonyms(KEY)

    assert pseudonyms.of(["7", "-9223372036854775808"]) == pseudonyms.of([7, -(2**63)])


def test_only_a_whole_pseudonym_is_taken_for_one_by_arrow_and_by_duckdb() -> None:
    hidden = Pseudonyms(KEY).of(["a", "p:17"])
    keys = ["p:17", "p:", f"p:{'g' * 32}", f"{hidden[0]}0", f"{hidden[0]}\n", f" {hidden[0]}", "00042"]

    expected = [True] * len(hidden) + [False] * len(keys)

    assert expected == are_pseudonyms(pa.array([*hidden, *keys])).to_pylist()
    asked = "SELECT list_transform(?::TEXT[], key -> regexp_full_match(key, ?))"
    assert (expected,) == duckdb.execute(asked, [[*hidden, *keys], FORM]).fetchone()
