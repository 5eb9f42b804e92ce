"""Feast's PostgreSQL online store, with connections that a service can live with.

Feast 0.67 keeps one connection for ever, also one that the server has closed. Its pool loses a connection with each
error. And psycopg asks the server to cancel before it gives a query up, which a hung server never answers. Here each
read has a connection to itself, at most `max_conn` at once, and one that has failed is closed at once.

Feast makes this store by the class name in its configuration. Importing this module imports feast and psycopg.
"""

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from feast.infra.online_stores.postgres_online_store.postgres import PostgreSQLOnlineStore, PostgreSQLOnlineStoreConfig
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.infra.utils.postgres.connection_utils import _get_conn_kwargs, _get_conninfo
from psycopg import AsyncConnection, waiting


class BoundedPostgreSQLOnlineStoreConfig(PostgreSQLOnlineStoreConfig):  # type: ignore[misc]  # feast publishes no types
    """Feast's own configuration under the name by which Feast finds the class below."""

    type: Literal["service.features.postgres_store.BoundedPostgreSQLOnlineStore"] = (
        "service.features.postgres_store.BoundedPostgreSQLOnlineStore"
    )


class BoundedPostgreSQLOnlineStore(PostgreSQLOnlineStore):  # type: ignore[misc]
    """Reads as Feast's class does. It only reads."""

    def __init__(self) -> None:
        super().__init__()
        self._idle: list[_Connection] = []
        self._places: asyncio.Semaphore | None = None

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Feast's class reads asynchronously, but does not say so."""
        return SupportedAsyncMethods(read=True)

    @asynccontextmanager
    async def _get_conn_async(self, config: Any, autocommit: bool = True) -> "AsyncIterator[_Connection]":
        settings = config.online_store
        if self._places is None:
            self._places = asyncio.Semaphore(settings.max_conn)
        async with self._places:
            connection = await self._taken() or await _connected(settings, autocommit)
            try:
                yield connection
            except BaseException:
                await connection.close()  # its next answer would be to the query that was given up
                raise
            self._idle.append(connection)

    async def _taken(self) -> "_Connection | None":
        """An idle connection. One that the server has closed meanwhile can be read from: its end."""
        while self._idle:
            connection = self._idle.pop()
            readable = select.poll()
            readable.register(connection.pgconn.socket, select.POLLIN)
            if not readable.poll(0):
                return connection
            await connection.close()
        return None

    async def close(self) -> None:
        """Close the connections. Feast's class leaves them open."""
        while self._idle:
            await self._idle.pop().close()


class _Connection(AsyncConnection[Any]):
    async def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's, but a cancelled wait closes the connection and does not ask the server, which may hang."""
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)
        except asyncio.CancelledError:
            await self.close()
            raise


async def _connected(settings: Any, autocommit: bool) -> _Connection:
    options = {**_get_conn_kwargs(settings), "keepalives_idle": settings.keepalives_idle}
    return await _Connection.connect(_get_conninfo(settings), autocommit=autocommit, **options)
