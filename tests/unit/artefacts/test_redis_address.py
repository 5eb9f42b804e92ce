import json
from typing import Any

import pytest

from artefacts.redis_address import RedisAddress
from contract import ContractError


def test_an_address_names_the_server_the_database_and_who_asks() -> None:
    address = RedisAddress.of("redis://serving:secret@redis.internal:6380/2")

    assert ("redis", (("redis.internal", 6380),), 2) == (address.kind, address.hosts, address.database)
    assert ("serving", "secret") == (address.username, address.password)
    assert ("", False, {}) == (address.master, address.tls, address.tls_files)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("redis://localhost", "localhost", 6379),
        ("redis://localhost/", "localhost", 6379),
        ("rediss://10.0.0.7:6380", "10.0.0.7", 6380),
        ("redis://feature_store-0.redis:1", "feature_store-0.redis", 1),
        ("redis://localhost:65535\n", "localhost", 65535),
        ("redis+cluster://localhost", "localhost", 6379),
        ("redis+sentinel://localhost/master", "localhost", 26379),
    ],
)
def test_a_port_that_is_not_given_is_the_usual_one(url: str, host: str, port: int) -> None:
    assert ((host, port),) == RedisAddress.of(url).hosts


@pytest.mark.parametrize(
    ("credentials", "username", "password"),
    [
        ("", "", ""),
        ("@", "", ""),
        ("serving@", "serving", ""),
        (":secret@", "", "secret"),
        ("serving:secret@", "serving", "secret"),
        ("a%3Ab:c%3Ad@", "a:b", "c:d"),
        (":p%40ss%3Aw%2Frd%3D%25%23%3F%5B@", "", "p@ss:w/rd=%#?["),
        (":a:b@", "", "a:b"),
        (":one@two@", "", "one@two"),
        (":%C3%A9t%C3%A9@", "", "été"),
        (":été@", "", "été"),
        (":100%@", "", "100%"),
        (":$HOME@", "", "$HOME"),
        (":%24%7BHOME%7D@", "", "${HOME}"),
    ],
)
def test_user_and_password_are_optional_and_percent_decoded(credentials: str, username: str, password: str) -> None:
    for url in (f"redis://{credentials}h", f"redis+sentinel://{credentials}h/m", f"rediss+cluster://{credentials}h,i"):
        address = RedisAddress.of(url)

        assert (username, password) == (address.username, address.password)
        assert "h" == address.hosts[0][0]


def test_sentinels_are_named_with_the_master_they_watch() -> None:
    address = RedisAddress.of("redis+sentinel://serving:secret@s1,s2:5000,s3/feature-store.eu_1/4")

    assert "redis_sentinel" == address.kind
    assert (("s1", 26379), ("s2", 5000), ("s3", 26379)) == address.hosts
    assert ("feature-store.eu_1", 4) == (address.master, address.database)


def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    address = RedisAddress.of("rediss+cluster://:secret@n1:7000,n2:7001")

    assert ("redis_cluster", True) == (address.kind, address.tls)
    assert (("n1", 7000), ("n2", 7001)) == address.hosts


def test_tls_takes_its_files_from_parameters() -> None:
    address = RedisAddress.of(
        "rediss://h/1?ssl_ca_certs=/tls/ca.pem&ssl_certfile=/tls/c%26d.pem&ssl_keyfile=/tls/k.pem"
    )

    assert address.tls
    assert {
        "ssl_ca_certs": "/tls/ca.pem",
        "ssl_certfile": "/tls/c&d.pem",
        "ssl_keyfile": "/tls/k.pem",
    } == address.tls_files
    assert not RedisAddress.of("redis://h").tls


_MALFORMED = [
    "",
    "localhost:6379",
    "http://:hunter2@localhost",
    "redis+http://:hunter2@localhost",
    "unix:///run/redis.sock",
    "redis://",
    "redis://:hunter2@",
    "redis://:hunter2@:6379",
    "redis://:hunter2@localhost:",
    "redis://:hunter2@localhost:port",
    "redis://:hunter2@localhost:0",
    "redis://:hunter2@localhost:-1",
    "redis://:hunter2@localhost:+1",
    "redis://:hunter2@localhost:1_0",
    "redis://:hunter2@localhost:６３７９",
    "redis://:hunter2@localhost:99999",
    "redis://:hunter2@localhost:6379999999",
    "redis://:hunter2@localhost/db",
    "redis://:hunter2@localhost/-1",
    "redis://:hunter2@localhost/1/2",
    "redis://:hunter2@localhost/" + "1" * 5000,
    "redis://:hunter2@localhost#1",
    "redis://:hunter2/more@localhost",
    "redis://:hunter2#more@localhost",
    "redis://:hunter2?more@localhost",
    "redis://:%FFhunter2@localhost",
    "redis://:hunter2@[::1",
    "redis://:hunter2@one,two",
    "redis://:hunter2@it's",
    "redis://:hunter2@local host",
    "redis+sentinel://:hunter2@s1",
    "redis+sentinel://:hunter2@s1,,s2/m",
    "redis+sentinel://:hunter2@s1/m/db",
    "redis+sentinel://:hunter2@s1/m/1/2",
    "redis+cluster://:hunter2@n1/1",
]
_REFUSED = [
    ("redis://:hunter2@[::1]:6379", "IPv6"),
    ("redis://:hunter2@fe80::1", "IPv6"),
    ("redis+sentinel://:hunter2@s1,[2001:db8::7]:26379/m", "IPv6"),
    ("redis+sentinel://:hunter2@s1/it's", "name of a master"),
    ("redis://app:6379?hunter2=x@localhost", "unknown parameter"),
    ("rediss://:hunter2@h?ssl_cert_reqs=none", "unknown parameter"),
    ("rediss://:hunter2@h?ssl_ca_certs=", "twice or empty"),
    ("rediss://:hunter2@h?ssl_ca_certs=/a&ssl_ca_certs=/b", "twice or empty"),
    ("rediss://:hunter2@h?ssl_keyfile=/hunter2", "ssl_keyfile needs ssl_certfile"),
    ("redis://:hunter2@h?ssl_ca_certs=/hunter2", "need rediss"),
]


def _said(caught: pytest.ExceptionInfo[ContractError]) -> str:
    """What is left of the refusal, once sure that it brings along no other exception that may repeat the URL."""
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize("url", _MALFORMED)
def test_a_malformed_url_is_refused_with_the_forms_shown_and_nothing_repeated(url: str) -> None:
    with pytest.raises(ContractError, match="REDIS_URL must look like") as caught:
        RedisAddress.of(url)

    assert "hunter2" not in _said(caught)


@pytest.mark.parametrize(("url", "reason"), _REFUSED)
def test_what_cannot_be_done_is_refused_with_the_reason_and_nothing_repeated(url: str, reason: str) -> None:
    with pytest.raises(ContractError, match="REDIS_URL") as caught:
        RedisAddress.of(url)

    assert reason in str(caught.value)
    assert "hunter2" not in _said(caught)


def test_an_address_can_be_logged_without_its_password() -> None:
    assert "hunter2" not in repr(RedisAddress.of("redis://serving:hunter2@h"))


@pytest.mark.parametrize(
    ("url", "connection"),
    [
        ("redis://localhost", "localhost:6379,db=0"),
        ("redis://10.0.0.7:6380/", "10.0.0.7:6380,db=0"),
        ("redis://localhost/3", "localhost:6379,db=3"),
        ("redis://app@localhost", 'localhost:6379,db=0,username="app"'),
        ("redis://:secret@localhost", 'localhost:6379,db=0,password="secret"'),
        ("redis://app:secret@localhost:1/2", 'localhost:1,db=2,username="app",password="secret"'),
        ("redis://:p%40ss%3Aw%2Frd%3D%25@localhost", 'localhost:6379,db=0,password="p@ss:w/rd=%"'),
        ("redis://:123@localhost", 'localhost:6379,db=0,password="123"'),
        ("redis://:true@localhost", 'localhost:6379,db=0,password="true"'),
        ("rediss://localhost", "localhost:6379,db=0,ssl=true"),
        ("rediss://h?ssl_ca_certs=/a.pem", 'h:6379,db=0,ssl_ca_certs="/a.pem",ssl=true'),
        ("redis+sentinel://:123@s1,s2:5/m/4", 's1:26379,s2:5,db=4,password="123"'),
        ("rediss+cluster://n1,n2:7001", "n1:6379,n2:7001,ssl=true"),
    ],
)
def test_feast_is_told_the_address_in_its_own_format(url: str, connection: str) -> None:
    assert connection == RedisAddress.of(url).feast_connection_string()


def test_options_of_the_client_are_appended() -> None:
    assert "localhost:6379,db=0,socket_timeout=0.1,retry=null" == RedisAddress.of(
        "redis://localhost"
    ).feast_connection_string({"socket_timeout": "0.1", "retry": "null"})


@pytest.mark.parametrize("password", ["100%", "été", "a\\b", "a=b=c", "$HOME", "null", "1e5", "a b", "#:{}[]&*"])
def test_feast_reads_every_password_as_it_was_meant(password: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in password.encode())

    connection = RedisAddress.of(f"redis://:{quoted}@localhost").feast_connection_string()

    assert password == _as_feast_reads(connection)["password"]


def _as_feast_reads(connection: str) -> dict[str, Any]:
    """The keyword arguments that feast 0.67 makes of a connection string."""
    pairs = (part.split("=", 1) for part in connection.split(",") if "=" in part)
    return {name: json.loads(value) for name, value in pairs}


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("redis://:hunter2%2Cdb=1@localhost", "password"),
        ("redis://:hunter2%22@localhost", "password"),
        ("redis://hunter2%27:x@localhost", "username"),
        ("rediss://localhost?ssl_ca_certs=/hunter2,b", "ssl_ca_certs"),
    ],
)
def test_what_feasts_format_cannot_carry_is_refused_without_repeating_it(url: str, part: str) -> None:
    address = RedisAddress.of(url)

    with pytest.raises(ContractError, match=f"REDIS_URL: feast cannot carry a {part}") as caught:
        address.feast_connection_string()

    assert "hunter2" not in _said(caught)
