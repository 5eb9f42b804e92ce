"""Cut-offs that the orders allow: until when they are known, and which label windows they hold completely."""

from dataclasses import replace
from datetime import datetime

import pyarrow.parquet as pq

from artefacts.cutoffs import Cutoffs, CutoffSettings, lay_back
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_schema import description_in
from training.errors import DatasetError


def choose_cutoffs(first_order: datetime, observed_until: datetime, settings: CutoffSettings) -> Cutoffs:
    """The cut-offs by the settings, without training cut-offs before the first order.

    Raises:
        DatasetError: the orders span too short a time for one training cut-off.
    """
    wanted = lay_back(observed_until, settings)
    usable = tuple(t for t in wanted.training if t > first_order)
    if not usable:
        raise DatasetError(
            f"orders from {first_order:%Y-%m-%d} to {wanted.test + settings.reach:%Y-%m-%d} span too few days: "
            f"training, validation and test each need {settings.reach.days} days after the first order "
            f"({settings.label_days} days of a label, and TRAINING_REQUEST_HOURS); "
            "a shorter TRAINING_LABEL_DAYS needs less"
        )
    return replace(wanted, training=usable)


def last_labelled(observed_until: datetime, settings: CutoffSettings) -> datetime:
    """The test cut-off: the last midnight whose label windows are all completely observed."""
    return lay_back(observed_until, settings).test


def observed_until(addresses: OrderAddresses) -> datetime:
    """The time (UTC) before which every order is known, from the orders file's metadata.

    Raises:
        DatasetError: there is no orders file.
    """
    if not addresses.orders.exists():
        raise DatasetError(f"{addresses.orders}: no orders; run `make data` first")
    return datetime.fromisoformat(description_in(pq.read_schema(addresses.orders).metadata)["observed_until"])
