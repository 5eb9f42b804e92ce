"""redis-py's client for what jobs ask Redis beside Feast: locks, marks, scripts and rows in bulk."""

from typing import TYPE_CHECKING, Any

import redis
from redis.cluster import ClusterNode
from redis.sentinel import Sentinel

from artefacts.redis_address import RedisAddress
from jobs.errors import JobError

if TYPE_CHECKING:
    from feast import FeatureStore

CONNECT_SECONDS, ANSWER_SECONDS = 2, 20


def client_beside(store: "FeatureStore", redis_url: str) -> Any:
    """A client of the Redis that a store writes to.

    Args:
        redis_url: `REDIS_URL`.

    Raises:
        ContractError: the URL is malformed.
        JobError: `feature_store.yaml` names another Redis than the URL, so Feast would not read what is written here.
        redis.RedisError, RedisClusterException: no node of a cluster answers.
    """
    address = RedisAddress.of(redis_url)
    stored_in = store.config.online_store.connection_string
    if not f"{stored_in},".startswith(f"{address.feast_connection_string()},"):
        raise JobError("feature_store.yaml does not take its connection_string from REDIS_URL")
    return connect(address)


def connect(address: RedisAddress) -> Any:
    """redis-py's client of one server, of the master that Sentinels know, or of a cluster."""
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        **({"username": address.username} if address.username else {}),
        **({"password": address.password} if address.password else {}),
        **({"ssl": True} if address.tls else {}),
        **address.tls_files,
    }
    if address.kind == "redis_cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]  # type: ignore[no-untyped-call]
        return redis.RedisCluster(startup_nodes=nodes, **options)
    options["db"] = address.database
    if address.kind == "redis_sentinel":
        sentinel: Any = Sentinel(list(address.hosts), **options)  # type: ignore[no-untyped-call]
        return sentinel.master_for(address.master)
    host, port = address.hosts[0]
    return redis.Redis(host=host, port=port, **options)
