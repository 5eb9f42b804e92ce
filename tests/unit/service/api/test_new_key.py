"""`python -m service new-key`: what a new key is, where its hash goes, and which names are refused."""

import re
import stat
from pathlib import Path

import pytest

from service.__main__ import main
from service.api.authentication import ANONYMOUS, ApiKeys, new_key, read_keys


def test_new_keys_are_long_random_and_hold_what_a_header_may() -> None:
    keys = {new_key("shop")[0] for _ in range(100)}

    assert 100 == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", key) for key in keys)


def test_new_key_prints_the_key_alone_and_adds_its_hash_to_a_private_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "api_keys"

    assert 0 == main(["new-key", "shop", "--file", str(file)])
    first = capsys.readouterr()
    assert 0 == main(["new-key", "ops", "--file", str(file)])
    second = capsys.readouterr()

    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert str(file) in first.err
    keys = ApiKeys.of("", str(file))
    for name, printed in (("shop", first), ("ops", second)):
        key = printed.out.removesuffix("\n")
        assert name == keys.authenticate(f"Bearer {key}".encode())
        assert key not in printed.err + file.read_text()


def test_new_key_without_a_file_says_what_to_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["new-key", "shop"])

    printed = capsys.readouterr()
    entry = printed.err.split()[-1]
    assert "shop" == ApiKeys.of(entry, "").authenticate(b"Bearer " + printed.out.strip().encode())


def test_new_key_finishes_a_last_line_that_has_no_end(tmp_path: Path) -> None:
    file = tmp_path / "api_keys"
    file.write_text(new_key("ops")[1])

    assert 0 == main(["new-key", "shop", "--file", str(file)])

    assert ["ops", "shop"] == [key.name for key in read_keys(file)]


@pytest.mark.parametrize("name", ["", "Shop", "shop eu", "-shop", ".shop", "s" * 64, ANONYMOUS, "shöp", "a:b", "a\n"])
def test_new_key_refuses_a_name_it_cannot_store(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    file = tmp_path / "api_keys"

    assert 1 == main(["new-key", "--file", str(file), "--", name])

    printed = capsys.readouterr()
    assert ("", 1) == (printed.out, printed.err.count("\n"))
    assert printed.err.startswith("error: a key's name has the form ")
    assert not file.exists()


def test_new_key_adds_nothing_to_a_file_that_the_service_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "api_keys"
    file.write_text("planted\n")

    assert 1 == main(["new-key", "shop", "--file", str(file)])
    assert 1 == main(["new-key", "shop", "--file", str(file / "below")])

    printed = capsys.readouterr()
    assert "" == printed.out
    assert "line 1" in printed.err
    assert "planted\n" == file.read_text()
