"""An online store that Feast can read and of which nothing is known here."""

from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig


class OtherSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]  # feast publishes no types
    """Found by Feast under this name."""

    type: str = f"{__name__}.OtherSqliteOnlineStore"


class OtherSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]  # feast publishes no types
    """Named in a feature_store.yaml by its class."""
