"""New orders of a running shop, after the orders that were built."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

_SEED = 23
NEWCOMERS = 0.1
"""Share of orders by new customers."""


@dataclass(frozen=True)
class NewOrders:
    """Makes orders like the synthetic ones, of known customers and of new ones.

    customers: number of known customers.
    """

    customers: int

    def rows(self, name: str, count: int, until: datetime, hours: float) -> list[dict[str, Any]]:
        """Orders of different customers, in whole cents and microseconds.

        Args:
            name: gives the ids of orders and customers, and the seed; another name gives others.
            until: UTC; all orders are from the `hours` before it.
        """
        random = np.random.default_rng([_SEED, *name.encode()])
        newcomers = int(count * NEWCOMERS)
        known = random.choice(self.customers, min(count - newcomers, self.customers), replace=False)
        ids = [f"{number:09d}" for number in known] + [f"{name}-{number:06d}" for number in range(count - len(known))]
        ages = random.uniform(1, hours * 3600, count)
        amounts = np.round(random.gamma(5.0, 7.0, count), 2)
        return [
            {
                "order_id": f"{name}-{number}",
                "customer_id": ids[number],
                "event_timestamp": (until - timedelta(seconds=float(ages[number]))).astimezone(UTC),
                "amount": float(amounts[number]),
                "items": 1 + int(amounts[number] // 15),
            }
            for number in range(count)
        ]
