from pathlib import Path

from training.churn.source.addresses import OrderAddresses


def test_addresses_default_to_the_var_folder(tmp_path: Path) -> None:
    assert OrderAddresses(
        orders=tmp_path / "var/data/orders.parquet", streamed_orders=tmp_path / "var/data/streamed_orders"
    ) == OrderAddresses.of({}, tmp_path)


def test_addresses_of_the_environment_win(tmp_path: Path) -> None:
    environ = {"ORDERS_PATH": "/data/orders.parquet", "STREAMED_ORDERS_DIR": "/data/streamed"}

    assert OrderAddresses(
        orders=Path("/data/orders.parquet"), streamed_orders=Path("/data/streamed")
    ) == OrderAddresses.of(environ, tmp_path)
