from pathlib import Path

import pytest

from contract import ContractError
from contract.artefacts import Artefacts, embedded_redis_url_file, feast_connection_string


@pytest.mark.parametrize(
    ("url", "connection"),
    [
        ("redis://localhost", "localhost:6379,db=0"),
        ("redis://10.0.0.7:6380/", "10.0.0.7:6380,db=0"),
        ("redis://localhost/3", "localhost:6379,db=3"),
        ("redis://:secret@localhost", 'localhost:6379,db=0,password="secret"'),
        ("redis://app:secret@localhost:1/2", 'localhost:1,db=2,username="app",password="secret"'),
        ("redis://:p%40ss%3Aw%2Frd%3D%25@localhost", 'localhost:6379,db=0,password="p@ss:w/rd=%"'),
        ("redis://:123@localhost", 'localhost:6379,db=0,password="123"'),
        ("redis://:true@localhost", 'localhost:6379,db=0,password="true"'),
        ("rediss://localhost", "localhost:6379,db=0,ssl=true"),
    ],
)
def test_a_redis_url_becomes_feasts_connection_string(url: str, connection: str) -> None:
    assert connection == feast_connection_string(url)


def test_options_of_the_client_are_appended() -> None:
    assert "localhost:6379,db=0,socket_timeout=0.1,retry=null" == feast_connection_string(
        "redis://localhost", {"socket_timeout": "0.1", "retry": "null"}
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://:hunter2@localhost",
        "redis://",
        "redis://:hunter2@",
        "redis://:hunter2@localhost:port",
        "redis://:hunter2@localhost:99999",
        "redis://:hunter2@localhost/db",
        "redis://:hunter2/more@localhost",
        "redis://:hunter2#more@localhost",
        "redis://:hunter2@[::1",
        "redis://:hunter2%2Cdb=1@localhost",
        "redis://:hunter2%22@localhost",
        "redis://hunter2%27:x@localhost",
    ],
)
def test_an_url_that_feast_cannot_express_is_refused_without_repeating_the_password(url: str) -> None:
    with pytest.raises(ContractError, match="REDIS_URL") as caught:
        feast_connection_string(url)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_addresses_default_to_the_var_folder(tmp_path: Path) -> None:
    assert Artefacts(
        redis_url=None,
        feast_registry=str(tmp_path / "var/feast/registry.db"),
        offline_store=tmp_path / "var/offline_store",
        orders=tmp_path / "var/data/orders.parquet",
        model_tag=tmp_path / "var/model_tag",
    ) == Artefacts.of({}, tmp_path)


def test_addresses_of_the_environment_win(tmp_path: Path) -> None:
    environ = {
        "REDIS_URL": "redis://elsewhere:1",
        "FEAST_REGISTRY": "s3://bucket/registry.db",
        "OFFLINE_STORE_DIR": "/data/features",
        "ORDERS_PATH": "/data/orders.parquet",
        "MODEL_TAG_PATH": "/data/tag",
    }

    assert Artefacts(
        redis_url="redis://elsewhere:1",
        feast_registry="s3://bucket/registry.db",
        offline_store=Path("/data/features"),
        orders=Path("/data/orders.parquet"),
        model_tag=Path("/data/tag"),
    ) == Artefacts.of(environ, tmp_path)


def test_the_embedded_server_is_used_only_when_redis_url_is_not_set(tmp_path: Path) -> None:
    recorded = embedded_redis_url_file(tmp_path)
    recorded.parent.mkdir(parents=True)
    recorded.write_text("redis://127.0.0.1:7777/0\n")

    assert "redis://127.0.0.1:7777/0" == Artefacts.of({}, tmp_path).redis_url
    assert "redis://127.0.0.1:7777/0" == Artefacts.of({"REDIS_URL": ""}, tmp_path).redis_url
    assert "redis://elsewhere:1" == Artefacts.of({"REDIS_URL": "redis://elsewhere:1"}, tmp_path).redis_url


def test_feast_is_told_of_registry_offline_store_and_redis(tmp_path: Path) -> None:
    artefacts = Artefacts.of({"REDIS_URL": "redis://r:1/2"}, tmp_path)

    assert {
        "FEAST_REGISTRY": artefacts.feast_registry,
        "OFFLINE_STORE_DIR": str(artefacts.offline_store),
        "REDIS_CONNECTION_STRING": "r:1,db=2,socket_timeout=0.1",
    } == artefacts.feast_environment({"socket_timeout": "0.1"})


def test_without_redis_feast_gets_an_address_that_cannot_answer(tmp_path: Path) -> None:
    connection = Artefacts.of({}, tmp_path).feast_environment()["REDIS_CONNECTION_STRING"]

    assert "redis-url-not-set:0" == connection
