"""TLS to Redis: a server is trusted for its certificate and its name, and nobody is talked to otherwise."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.errors import OnlineStoreUnavailableError, StartupError
from service.features.compiled.pipe import pack
from tests.integration.service.redis.conftest import Connect
from tests.servers.redis_servers import RunningServer
from tests.servers.tls import Certificate, CertificateAuthority, TlsServer, redis_with_tls, tls_in_front_of_valkey

PING = pack(b"PING")
Serve = Callable[..., AbstractContextManager[TlsServer]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["redis-server", "terminator"])
def serve(request: pytest.FixtureRequest, tmp_path: Path, authority: CertificateAuthority) -> Serve:
    """Starts a server for the certificate it is given."""
    if request.param == "redis-server" and shutil.which("redis-server") is None:
        pytest.skip("needs a redis-server with TLS, e.g. Debian's, on the PATH")
    start: Any = redis_with_tls if request.param == "redis-server" else tls_in_front_of_valkey

    @contextmanager
    def served(own: Certificate, ask_client: bool = False) -> Iterator[TlsServer]:
        with start(tmp_path / "server", authority, own, ask_client) as server:
            yield server

    return served


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_commands_go_through_tls_as_a_user_of_the_servers(
    serve: Serve, authority: CertificateAuthority, connect: Connect, host: str
) -> None:
    with serve(authority.issue("server")) as tls:
        tls.server.command("ACL", "SETUSER", "serving", "on", ">p@ss", "+@all", "~*")
        connection = connect(f"rediss://serving:p%40ss@{host}:{tls.port}/2?ssl_ca_certs={authority.certificate}")
        big = bytes(range(256)) * 20_000

        replies = await connection.execute(pack(b"ACL", b"WHOAMI") + pack(b"SET", b"k", big) + pack(b"GET", b"k"), 3)

        assert [b"serving", b"OK", big] == replies
        await connection.close()


async def test_a_server_of_an_unknown_authority_is_refused(
    serve: Serve, authority: CertificateAuthority, connect: Connect, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = CertificateAuthority(tmp_path / "other")
    with serve(authority.issue("server")) as tls:
        for parameters in ("", f"?ssl_ca_certs={other.certificate}"):
            connection = connect(f"rediss://:secret@localhost:{tls.port}{parameters}")
            with pytest.raises(OnlineStoreUnavailableError):
                await connection.execute(PING, 1)

    assert ["online store unavailable: SSLCertVerificationError"] * 2 == caplog.messages


async def test_a_server_with_a_certificate_for_another_name_is_refused(
    serve: Serve, authority: CertificateAuthority, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(authority.issue("elsewhere", hosts=("redis.internal",))) as tls:
        connection = connect(f"rediss://:secret@localhost:{tls.port}?ssl_ca_certs={authority.certificate}")
        with pytest.raises(OnlineStoreUnavailableError):
            await connection.execute(PING, 1)

    assert ["online store unavailable: SSLCertVerificationError"] == caplog.messages


async def test_a_server_that_asks_for_a_certificate_gets_the_one_in_the_url(
    serve: Serve, authority: CertificateAuthority, connect: Connect
) -> None:
    mine = authority.issue("mine")
    parameters = f"ssl_ca_certs={authority.certificate}&ssl_certfile={mine.certificate}&ssl_keyfile={mine.key}"
    with serve(authority.issue("server"), ask_client=True) as tls:
        shown = connect(f"rediss://localhost:{tls.port}?{parameters}")
        hidden = connect(f"rediss://localhost:{tls.port}?ssl_ca_certs={authority.certificate}")

        assert [b"PONG"] == await shown.execute(PING, 1)
        for _ in range(2):
            with pytest.raises(OnlineStoreUnavailableError):
                await hidden.execute(PING, 1)
        await shown.close()


async def test_a_server_without_tls_is_unavailable_to_one_who_asks_for_it(
    server: RunningServer, authority: CertificateAuthority, connect: Connect
) -> None:
    connection = connect(f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={authority.certificate}", 0.5)

    for _ in range(2):
        with pytest.raises(OnlineStoreUnavailableError):
            await connection.execute(PING, 1)


async def test_a_hanging_handshake_is_given_up_in_time(
    server: RunningServer, authority: CertificateAuthority, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={authority.certificate}", 0.2)
    server.stop_signal()

    with pytest.raises(OnlineStoreUnavailableError):
        await connection.execute(PING, 1)

    assert ["online store unavailable: TimeoutError"] == caplog.messages


async def test_a_server_with_tls_is_unavailable_to_one_who_asks_without(
    serve: Serve, authority: CertificateAuthority, connect: Connect
) -> None:
    with serve(authority.issue("server")) as tls:
        connection = connect(f"redis://127.0.0.1:{tls.port}", 0.5)

        with pytest.raises(OnlineStoreUnavailableError):
            await connection.execute(PING, 1)


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
async def test_a_tls_file_that_is_not_there_keeps_the_service_from_starting(
    authority: CertificateAuthority, connect: Connect, name: str
) -> None:
    mine = authority.issue("mine")
    files = {"ssl_ca_certs": authority.certificate, "ssl_certfile": mine.certificate, "ssl_keyfile": mine.key}
    parameters = "&".join(f"{n}={'/nowhere.pem' if n == name else path}" for n, path in files.items())

    with pytest.raises(StartupError, match=f"REDIS_URL: {name}: there is no file /nowhere.pem"):
        connect(f"rediss://:hunter2@h?{parameters}")


async def test_tls_files_that_are_none_keep_the_service_from_starting(
    authority: CertificateAuthority, connect: Connect, tmp_path: Path
) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    (tmp_path / "empty.pem").touch()

    for parameters in (
        f"ssl_ca_certs={tmp_path}/empty.pem",
        f"ssl_certfile={mine.key}",
        f"ssl_certfile={mine.certificate}&ssl_keyfile={other.key}",
        f"ssl_certfile={mine.certificate}&ssl_keyfile={_encrypted(mine, tmp_path)}",
    ):
        with pytest.raises(StartupError, match="REDIS_URL: ssl_") as caught:
            connect(f"rediss://:hunter2@h?{parameters}")
        assert "hunter2" not in str(caught.value)


def _encrypted(own: Certificate, folder: Path) -> Path:
    from cryptography.hazmat.primitives import serialization

    key: Any = serialization.load_pem_private_key(own.key.read_bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / "encrypted.key"
    path.write_bytes(key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"hunter2")))
    return path
