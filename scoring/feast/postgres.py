"""Connections to the PostgreSQL that a configuration of Feast names; importing this module imports psycopg."""

from typing import Any

import psycopg


def connected(config: Any) -> "psycopg.Connection[tuple[Any, ...]]":
    """A connection in UTC that finds tables where Feast does.

    Args:
        config: Feast's `PostgreSQLConfig`, of an offline or an online store.
    """
    schema = config.db_schema or config.user
    return psycopg.connect(
        host=config.host,
        port=config.port,
        dbname=config.database,
        user=config.user,
        password=config.password,
        sslmode=config.sslmode,
        sslkey=config.sslkey_path,
        sslcert=config.sslcert_path,
        sslrootcert=config.sslrootcert_path,
        connect_timeout=10,
        options=f"-c search_path={schema},public -c TimeZone=UTC",
    )
