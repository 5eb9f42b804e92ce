"""The jobs' own client of Redis reaches what Feast's client reaches, in the same way."""

from types import SimpleNamespace
from typing import Any

import pytest
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

from artefacts.redis_address import RedisAddress
from jobs.errors import JobError
from jobs.feature_store import REDIS_OPTIONS
from jobs.materialization.redis_store.redis_client import client_beside, connect

TLS = "ssl_ca_certs=/etc/ca.pem&ssl_certfile=/etc/own.pem&ssl_keyfile=/etc/own.key"


@pytest.mark.parametrize(
    "url",
    [
        "redis://r",
        "redis://r:7000/3",
        "redis://:123@r",
        "redis://jobs:p%40ss:w%2Frd@r/1",
        f"rediss://jobs:secret@r:7000/0?{TLS}",
        "rediss://r",
        "redis+sentinel://a,b:7000/main/2",
        f"rediss+sentinel://jobs:secret@a:1,b:2/main?{TLS}",
    ],
)
def test_it_is_made_as_feast_makes_its_own(url: str) -> None:
    address = RedisAddress.of(url)
    config = RedisOnlineStoreConfig(
        redis_type=address.kind,
        sentinel_master=address.master or "none",
        connection_string=address.feast_connection_string(REDIS_OPTIONS),
    )
    theirs, ours = RedisOnlineStore()._get_client(config), connect(address)

    assert type(theirs.connection_pool) is type(ours.connection_pool)
    assert theirs.connection_pool.connection_class is ours.connection_pool.connection_class
    assert told(theirs) == told(ours)


def told(client: Any) -> dict[str, Any]:
    """What a client was given: with Sentinels, who they are and what is said to each."""
    pool = client.connection_pool
    given = {name: value for name, value in pool.connection_kwargs.items() if name not in ("retry", "connection_pool")}
    given["port"] = int(given.get("port", 0))
    sentinels = getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())
    return (
        {**given, "sentinels": [each.connection_pool.connection_kwargs for each in sentinels]} if sentinels else given
    )


@pytest.mark.parametrize("stored", ["other:6379,db=0", "r:6379,db=01", "r:6379,db=1", ""])
def test_a_store_that_writes_to_another_redis_is_refused(stored: str) -> None:
    store: Any = SimpleNamespace(config=SimpleNamespace(online_store=SimpleNamespace(connection_string=stored)))

    with pytest.raises(JobError, match="does not take its connection_string from REDIS_URL"):
        client_beside(store, "redis://r:6379/0")


def test_options_that_the_yaml_adds_are_feasts_own_affair() -> None:
    online = SimpleNamespace(connection_string="r:6379,db=0,socket_timeout=20,health_check_interval=5")
    store: Any = SimpleNamespace(config=SimpleNamespace(online_store=online))

    assert {"host": "r", "db": 0}.items() <= client_beside(store, "redis://r").connection_pool.connection_kwargs.items()
