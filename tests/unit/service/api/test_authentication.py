"""Which keys may ask, what is refused, how keys are rotated, and that no key is ever repeated."""

import hashlib
import logging
import os
import re
from pathlib import Path

import pytest

from service.api.authentication import ANONYMOUS, ApiKeys, new_key
from service.errors import StartupError, UnauthenticatedError


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def bearer(key: str) -> bytes:
    return b"Bearer " + key.encode()


def refused(keys: ApiKeys, header: bytes | None) -> UnauthenticatedError:
    with pytest.raises(UnauthenticatedError) as raised:
        keys.authenticate(header)
    assert (401, "unauthenticated") == (raised.value.status, raised.value.code)
    return raised.value


def file_of(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "api_keys"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def opened(file: Path, clock: Clock | None = None, variable: str = "") -> ApiKeys:
    return ApiKeys.of(variable, str(file), clock or Clock())


def test_without_keys_everybody_is_anonymous_whatever_they_send() -> None:
    keys = ApiKeys.of("", "")

    assert not keys.configured
    assert [] == keys.names
    assert [ANONYMOUS] * 3 == [keys.authenticate(header) for header in (None, b"", b"Bearer \xff")]


def test_a_key_is_known_by_its_name(tmp_path: Path) -> None:
    (shop, shop_entry), (ops, ops_entry) = new_key("shop"), new_key("ops")
    keys = opened(file_of(tmp_path, shop_entry, ops_entry))

    assert keys.configured
    assert ["ops", "shop"] == keys.names
    assert ["shop", "ops"] == [keys.authenticate(bearer(key)) for key in (shop, ops)]


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER ", b"BeArEr    ", b"Bearer \t"])
def test_the_scheme_is_read_in_any_case_and_with_any_space(tmp_path: Path, scheme: bytes) -> None:
    key, entry = new_key("shop")

    assert "shop" == opened(file_of(tmp_path, entry)).authenticate(scheme + key.encode() + b" ")


def test_a_header_that_holds_no_key_of_ours_is_refused_and_never_repeated(tmp_path: Path) -> None:
    key, entry = new_key("shop")
    keys = opened(file_of(tmp_path, entry))
    raw, digest = key.encode(), entry.partition(":")[2].encode()

    headers = [None, b"", b"Bearer", b"Bearer ", b"Bearer  \t ", b"Basic " + raw, raw, b"Bearer" + raw]
    headers += [b"Bearer " + part for part in (raw[:-1], raw + b"x", raw.swapcase(), digest, b"shop:" + digest)]
    headers += [b"Bearer " + raw + b", Bearer " + raw, b"\xff\xfe\x00", b"Bearer \xff\xfe\x00", "Bearer ключ".encode()]

    for header in headers:
        assert key not in refused(keys, header).message, header


def test_an_over_long_header_is_refused_even_if_its_key_is_stored(tmp_path: Path) -> None:
    long = "x" * 600
    keys = opened(file_of(tmp_path, f"shop:{hashlib.sha256(long.encode()).hexdigest()}"))

    refused(keys, bearer(long))
    refused(keys, b"Bearer " + b"x" * 10_000_000)


def test_the_stored_hash_of_nothing_lets_nobody_in(tmp_path: Path) -> None:
    keys = opened(file_of(tmp_path, f"shop:{hashlib.sha256(b'').hexdigest()}"))

    refused(keys, b"Bearer ")


def test_keys_stand_in_the_variable_in_the_file_or_in_both(tmp_path: Path) -> None:
    (a, a_entry), (b, b_entry), (c, c_entry) = new_key("a"), new_key("b"), new_key("c")

    variable = ApiKeys.of(f"{a_entry},{b_entry}\n {c_entry},", "")
    both = opened(file_of(tmp_path, c_entry), variable=f"{a_entry} , {b_entry}")

    for keys in (variable, both):
        assert ["a", "b", "c"] == [keys.authenticate(bearer(key)) for key in (a, b, c)]


def test_blank_lines_comments_carriage_returns_and_upper_case_hashes_are_read(tmp_path: Path) -> None:
    key, entry = new_key("shop.eu-1_b")
    name, _, digest = entry.partition(":")
    file = tmp_path / "api_keys"
    file.write_bytes(f"\ufeff# für den Laden\r\n\r\n  {name}:{digest.upper()}  \r\n   # the end".encode())

    assert "shop.eu-1_b" == opened(file).authenticate(bearer(key))


def test_two_keys_of_one_name_are_one_client_so_that_they_can_be_rotated(tmp_path: Path) -> None:
    (old, old_entry), (new, new_entry) = new_key("shop"), new_key("shop")
    keys = opened(file_of(tmp_path, old_entry, new_entry))

    assert ["shop"] == keys.names
    assert ["shop", "shop"] == [keys.authenticate(bearer(key)) for key in (old, new)]


DIGEST = hashlib.sha256(b"planted").hexdigest()


@pytest.mark.parametrize(
    "line",
    [
        "planted-key-without-a-name",
        f":{DIGEST}",
        f"Shop:{DIGEST}",
        f"shop {DIGEST}",
        f"shop: {DIGEST}",
        f"-shop:{DIGEST}",
        f"{'s' * 64}:{DIGEST}",
        f"shop:{DIGEST[:-1]}",
        f"shop:{DIGEST}0",
        f"shop:{'g' * 64}",
        f"shop:{new_key('shop')[0]}",
        f"shop:{DIGEST} # its key",
        f"{ANONYMOUS}:{DIGEST}",
        f"shöp:{DIGEST}",
    ],
)
def test_a_malformed_line_is_named_by_file_and_number_and_not_repeated(tmp_path: Path, line: str) -> None:
    file = file_of(tmp_path, "# keys", "", new_key("ops")[1], line)

    with pytest.raises(StartupError) as raised:
        opened(file)

    assert f"{file}, line 4: " in str(raised.value)
    for part in re.split("[: ]", line):
        assert len(part) < 20 or part not in str(raised.value)


def test_a_malformed_entry_of_the_variable_is_named_by_its_number() -> None:
    with pytest.raises(StartupError, match="SERVICE_API_KEYS, entry 2: ") as raised:
        ApiKeys.of(f"{new_key('a')[1]},planted", "")

    assert "planted" not in str(raised.value)


def test_the_same_key_twice_is_refused_in_one_place_and_across_both(tmp_path: Path) -> None:
    entry = new_key("shop")[1]
    renamed = entry.replace("shop", "ops")
    file = file_of(tmp_path, entry, renamed)

    with pytest.raises(StartupError, match=r"line 2: the same key as .*line 1"):
        opened(file)
    with pytest.raises(StartupError, match="SERVICE_API_KEYS holds too"):
        opened(file_of(tmp_path, entry), variable=renamed)


def test_keys_that_are_set_but_not_there_are_refused_instead_of_letting_everybody_in(tmp_path: Path) -> None:
    empty = file_of(tmp_path, "# none yet")

    for variable, file in (("", empty), (" , ", ""), ("", tmp_path / "none"), ("", tmp_path)):
        with pytest.raises(StartupError, match=r"holds no key|cannot be read"):
            ApiKeys.of(variable, str(file))


def test_bytes_that_are_not_text_are_a_malformed_line(tmp_path: Path) -> None:
    file = tmp_path / "api_keys"
    file.write_bytes(b"\xff\xfe\x00\x80\n")

    with pytest.raises(StartupError, match="line 1"):
        opened(file)


def test_a_changed_file_is_read_again_within_a_second_of_use(tmp_path: Path) -> None:
    clock = Clock()
    (old, old_entry), (new, new_entry) = new_key("shop"), new_key("shop")
    keys = opened(file_of(tmp_path, old_entry), clock)

    file_of(tmp_path, new_entry)
    clock.now += 0.9
    assert "shop" == keys.authenticate(bearer(old)), "the file is not looked at more than once a second"
    clock.now += 0.2

    assert "shop" == keys.authenticate(bearer(new))
    refused(keys, bearer(old))


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    clock = Clock()
    (old, old_entry), (new, new_entry) = new_key("shop"), new_key("shop")
    file = file_of(tmp_path, old_entry)
    keys = opened(file, clock)

    before = file.stat()
    (tmp_path / "next").write_text(f"{new_entry}\n")
    os.utime(tmp_path / "next", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "next").replace(file)
    clock.now += 1

    assert "shop" == keys.authenticate(bearer(new))
    refused(keys, bearer(old))


@pytest.mark.parametrize("broken", ["planted", None], ids=["malformed", "gone"])
def test_a_broken_new_file_keeps_the_keys_and_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str | None
) -> None:
    clock = Clock()
    (old, old_entry), (new, new_entry) = new_key("shop"), new_key("shop")
    file = file_of(tmp_path, old_entry)
    keys = opened(file, clock)

    if broken is None:
        file.unlink()
    else:
        file_of(tmp_path, new_entry, broken)
    with caplog.at_level(logging.INFO, "service.api.authentication"):
        for _ in range(3):
            clock.now += 1
            assert "shop" == keys.authenticate(bearer(old))
            refused(keys, bearer(new))

        (record,) = caplog.records
        assert logging.WARNING == record.levelno
        assert str(file) in record.getMessage()
        assert "planted" not in record.getMessage()

        file_of(tmp_path, new_entry)
        clock.now += 1
        assert "shop" == keys.authenticate(bearer(new))
    assert f"API keys of {file}: ['shop']" == caplog.records[-1].getMessage()
    for secret in (old, new, old_entry, new_entry):
        assert secret not in caplog.text


def test_taking_out_the_last_key_shuts_everybody_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    key, entry = new_key("shop")
    keys = opened(file_of(tmp_path, entry), clock)

    file_of(tmp_path, "# all revoked")
    clock.now += 1

    refused(keys, bearer(key))
    refused(keys, None)
    assert ["WARNING"] == [record.levelname for record in caplog.records]


def test_keys_of_the_variable_outlive_a_change_of_the_file(tmp_path: Path) -> None:
    clock = Clock()
    (a, a_entry), (b, b_entry) = new_key("a"), new_key("b")
    keys = opened(file_of(tmp_path, b_entry), clock, variable=a_entry)

    file_of(tmp_path)
    clock.now += 1

    assert "a" == keys.authenticate(bearer(a))
    refused(keys, bearer(b))
