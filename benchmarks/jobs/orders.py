"""New orders of a shop that runs already: what comes after the orders that were built."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

_SEED = 23
NEWCOMERS = 0.1
"""Share of the orders that are somebody's first."""


@dataclass(frozen=True)
class NewOrders:
    """Orders like the synthetic ones: of customers they know, and of some they do not.

    customers: how many there are.
    """

    customers: int

    def rows(self, name: str, count: int, until: datetime, hours: float) -> list[dict[str, Any]]:
        """Orders of different customers, whole cents and microseconds.

        Args:
            name: makes their ids, and with it their customers, different from those of other names.
            until: UTC; all are from the `hours` before it.
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
