"""A YAML's local defaults give way to the project's addresses; whatever else it says stays."""

import os
from typing import Any

import pytest
import yaml

from scoring.feast.addresses_in_yaml import at_addresses, yaml_with_variables

ADDRESSES = {
    "FEAST_REGISTRY": "/elsewhere/registry.db",
    "REDIS_TYPE": "redis_sentinel",
    "REDIS_SENTINEL_MASTER": "main",
    "REDIS_CONNECTION_STRING": "a:1,b:2",
}
LOCAL = """\
project: shop
registry:
  registry_type: file
  path: ../var/registry.db
  cache_ttl_seconds: 60
offline_store:
  type: postgres
  port: ${PGPORT}
  password: '${PGPASSWORD}'
online_store:
  type: redis
  connection_string: localhost:6379,unix_socket_path=../var/redis/valkey.sock
"""


def test_local_defaults_give_way_and_their_neighbours_stay() -> None:
    said = at_addresses(yaml.safe_load(LOCAL), ADDRESSES)

    assert {"registry_type": "file", "path": "/elsewhere/registry.db", "cache_ttl_seconds": 60} == said["registry"]
    assert {
        "type": "redis",
        "redis_type": "redis_sentinel",
        "sentinel_master": "main",
        "connection_string": "a:1,b:2",
    } == said["online_store"]
    assert "shop" == said["project"]


@pytest.mark.parametrize(
    "said",
    [
        {"registry": {"registry_type": "sql", "path": "registry.db"}},
        {"registry": {"path": "/data/registry.db"}},
        {"registry": {"path": "s3://bucket/registry.db"}},
        {"registry": {"path": "${FEAST_REGISTRY}"}},
        {"registry": "gs://bucket/registry.db"},
        {"online_store": {"type": "redis", "connection_string": "redis.shop:6379"}},
        {
            "online_store": {
                "type": "redis",
                "connection_string": "localhost:6379,unix_socket_path=/run/redis.sock,db=3",
            }
        },
        {"online_store": {"type": "redis", "connection_string": "${REDIS_CONNECTION_STRING}"}},
        {"online_store": {"type": "sqlite", "path": "data/online_store.db"}},
        {"online_store": "unix_socket_path=x"},
        {},
    ],
)
def test_an_address_that_is_no_local_default_stays(said: dict[str, Any]) -> None:
    assert said == at_addresses(said, ADDRESSES)
    assert yaml_with_variables(yaml.dump({"project": "shop", **said})) is None


def test_a_default_without_an_address_stays() -> None:
    said = yaml.safe_load(LOCAL)

    assert said == at_addresses(said, {})


def test_a_registry_that_is_only_a_path_is_replaced() -> None:
    assert {"registry": "/elsewhere/registry.db"} == at_addresses({"registry": "data/registry.db"}, ADDRESSES)


@pytest.mark.parametrize("value", ["/a b/registry.db", 'it\'s "quoted": #1', "C:\\x", "[1]", "- 7", "007", "*x"])
def test_any_address_survives_that_feast_expands_the_text_before_it_parses_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, other in {**ADDRESSES, "FEAST_REGISTRY": value, "PGPORT": "5432", "PGPASSWORD": "007"}.items():
        monkeypatch.setenv(name, other)

    text = yaml_with_variables(LOCAL)

    assert text is not None
    said = yaml.safe_load(os.path.expandvars(text))
    assert value == said["registry"]["path"]
    assert "a:1,b:2" == said["online_store"]["connection_string"]
    assert {"type": "postgres", "port": 5432, "password": "007"} == said["offline_store"]


@pytest.mark.parametrize("text", ["[", "- a", "", "text"])
def test_what_is_no_mapping_is_left_to_feast(text: str) -> None:
    assert yaml_with_variables(text) is None
