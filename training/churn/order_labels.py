"""Targets that come from the orders: who orders again, how often, for how much."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from artefacts.cutoffs import CutoffSettings
from training.churn.observed import observed_until
from training.churn.order_history import SAME_DAY, open_order_history
from training.churn.source.addresses import OrderAddresses
from training.errors import DatasetError


@dataclass(frozen=True)
class OrderLabels:
    """Rows of customers with a target from the orders file; the `LabelSource` of use cases on orders.

    target: name of the column.
    aggregate: SQL over a customer's orders, see `OrderHistory.customers_at`.
    """

    addresses: OrderAddresses
    target: str
    aggregate: str

    @property
    def _orders(self) -> Path:
        return self.addresses.orders

    def first_event(self) -> datetime:
        """Time of the first order, UTC."""
        with open_order_history(self._orders) as history:
            first = history.first_order
        if first is None:
            raise DatasetError(f"{self._orders}: holds no orders")
        return first

    def observed_until(self) -> datetime:
        """The time, UTC, before which every order is known."""
        return observed_until(self.addresses)

    def rows(self, cutoff: datetime, splits: CutoffSettings, seed: int) -> pd.DataFrame:
        """Every customer at a cut-off. The group `same_day` ordered between the cut-off and the request time."""
        with open_order_history(self._orders) as history:
            return history.customers_at(cutoff, splits, seed, **{self.target: self.aggregate, "same_day": SAME_DAY})


def order_labels(target: str, aggregate: str) -> Callable[[Mapping[str, str]], OrderLabels]:
    """Environment variables → the source of such a target."""
    return lambda environ: OrderLabels(OrderAddresses.of(environ), target, aggregate)
