"""Until when every order is known."""

from datetime import datetime

import pyarrow.parquet as pq

from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_schema import description_in
from training.errors import DatasetError


def observed_until(addresses: OrderAddresses) -> datetime:
    """The time (UTC) before which every order is known, from the orders file's metadata.

    Raises:
        DatasetError: there is no orders file.
    """
    if not addresses.orders.exists():
        raise DatasetError(f"{addresses.orders}: no orders; run `make data` first")
    return datetime.fromisoformat(description_in(pq.read_schema(addresses.orders).metadata)["observed_until"])
