"""What a process is given as a small file may be anything by the time it is read; it is read or refused, at once."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artefacts.addresses import Artefacts
from artefacts.local_pin import challenging, pinned
from artefacts.process.small_files import read_small_file, read_small_text
from contract import ContractError
from scoring.errors import ModelError
from scoring.models.model_store import pinned_tag
from scoring.pseudonyms import Pseudonyms
from service.api.authentication import ApiKeys, read_keys
from service.desired_models import desired_models, read_challenge
from service.errors import StartupError
from service.features.compiled.connection import RedisConnection

TEN_GB = 10 * 1024**3


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


def huge(path: Path) -> Path:
    path.touch()
    os.truncate(path, TEN_GB)  # with a hole in it
    return path


def listening(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)  # the address of a socket is short
        made.bind(path.name)
    return path


def loop(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def latin(path: Path) -> Path:
    path.write_bytes("é".encode("latin-1"))
    return path


def endless_name(path: Path) -> Path:
    return path.with_name("x" * 300)


Odd = Callable[[Path], Path]
ODD: list[Odd] = [pipe, folder, device, huge, listening, loop, endless_name]
SAID: dict[Odd, str] = {
    pipe: "a named pipe, not a regular file",
    folder: "a directory, not a regular file",
    device: "a device, not a regular file",
    listening: "a socket, not a regular file",
    huge: "larger than 1,048,576 bytes",
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_small_file_is_refused_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: Odd) -> None:
    monkeypatch.chdir(tmp_path)
    file = odd(tmp_path / "odd")

    with pytest.raises(OSError) as caught:  # noqa: PT011  # what it says is compared below
        read_small_file(file)

    assert str(file) == str(caught.value.filename)
    assert SAID.get(odd, "") in str(caught.value.strerror)


def test_a_file_up_to_the_limit_is_read_through_links_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"four")
    (tmp_path / "link").symlink_to("file")

    assert b"four" == read_small_file(tmp_path / "link", at_most=4)
    with pytest.raises(OSError, match="larger than 3 bytes"):
        read_small_file(tmp_path / "file", at_most=3)


def test_a_file_whose_size_is_said_to_be_nothing_is_read(tmp_path: Path) -> None:
    assert read_small_file("/proc/self/status")


def test_text_is_utf_8_or_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not UTF-8"):
        read_small_text(latin(tmp_path / "latin"))


def artefacts(file: Path) -> Artefacts:
    named = {"MODEL_TAG_PATH": str(file), "CHALLENGER_PATH": str(file), "REDIS_URL": "redis://h"}
    return Artefacts.of(named, root=file.parent / "project")


def of_the_record(file: Path) -> None:
    record = file.parent / "project" / "var" / "redis" / "url"
    record.parent.mkdir(parents=True)
    record.symlink_to(file)
    Artefacts.of({}, root=file.parent / "project")


READERS: dict[str, tuple[Callable[[Path], Any], type[Exception]]] = {
    "model tag": (lambda file: pinned_tag(artefacts(file)), ModelError),
    "challenger": (read_challenge, StartupError),
    "API keys": (read_keys, StartupError),
    "address of Redis": (lambda file: Artefacts.of({"REDIS_URL_FILE": str(file)}), ContractError),
    "record of the embedded Redis": (of_the_record, ContractError),
    "key of the pseudonyms": (Pseudonyms.from_file, ModelError),
}


@pytest.mark.parametrize("odd", [pipe, folder, device, huge, loop])
@pytest.mark.parametrize(("reader", "error"), READERS.values(), ids=READERS.keys())
def test_whatever_reads_one_says_so_in_one_line_and_names_it(
    tmp_path: Path, odd: Odd, reader: Callable[[Path], Any], error: type[Exception]
) -> None:
    file = odd(tmp_path / "odd")

    with pytest.raises(error) as caught:
        reader(file)

    assert str(file) in str(caught.value).replace(str(tmp_path / "project" / "var" / "redis" / "url"), str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("reader", "error"), list(READERS.values())[:2], ids=list(READERS)[:2])
def test_what_is_not_utf_8_is_refused_in_one_line(
    tmp_path: Path, reader: Callable[[Path], Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match="cannot be read: not UTF-8"):
        reader(latin(tmp_path / "odd"))


@pytest.mark.parametrize("odd", [pipe, folder, device])
@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile"])
def test_a_certificate_that_is_no_file_is_refused_at_the_start(tmp_path: Path, odd: Odd, name: str) -> None:
    from artefacts.redis_address import RedisAddress

    file = odd(tmp_path / "odd")

    with pytest.raises(StartupError, match=f"REDIS_URL: {name}: {file} cannot be read"):
        RedisConnection(RedisAddress.of(f"rediss://h?{name}={file}"), 1, 1)


@pytest.mark.parametrize("odd", [pipe, device, huge])
def test_keys_whose_file_becomes_one_stay_as_they_were(tmp_path: Path, odd: Odd) -> None:
    file = tmp_path / "keys"
    file.write_text(f"shop:{'0' * 64}\n")
    now = [0.0]
    keys = ApiKeys.of("", str(file), clock=lambda: now[0])
    file.unlink()
    odd(file)
    now[0] = 2.0

    with pytest.raises(Exception, match="API key"):
        keys.authenticate(b"Bearer x")

    assert ["shop"] == keys.names


@pytest.mark.parametrize("odd", [pipe, device, huge])
def test_what_should_be_live_is_said_not_to_be_where_the_challengers_file_is_one(tmp_path: Path, odd: Odd) -> None:
    assert "odd" in desired_models("churn:1", odd(tmp_path / "odd")).refusal


@pytest.mark.parametrize("odd", [pipe, folder, device, huge, latin])
def test_moves_take_a_pin_that_cannot_be_read_for_none(tmp_path: Path, odd: Odd) -> None:
    found = artefacts(odd(tmp_path / "odd"))

    assert ("", {}) == (pinned(found), dict(challenging(found)))
