"""Makes training rows: labels, and features by the point-in-time join."""

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
from artefacts.build_files import damage
from artefacts.build_record import inputs_sha256
from artefacts.cutoffs import Cutoffs
from artefacts.offline_place import another_store, refusal
from artefacts.process.redaction import redacted
from contract import FeatureSchema, RawFeatures
from contract.feature_schema import read_feature_schema
from training.churn.label_times import choose_cutoffs, observed_until
from training.churn.order_history import open_order_history
from training.churn.source.addresses import OrderAddresses
from training.data.view_times import row_times
from training.errors import DatasetError
from training.settings import TrainingSettings

if TYPE_CHECKING:
    from feast import FeatureStore

_CHECKED_ROWS = 2_000
"""Customers per cut-off whose rows' age is checked."""
_MAJORITY = 0.5


@dataclass(frozen=True)
class LabelledRows:
    """n customers, each at a simulated request time after a cut-off.

    entities: customer_id and event_timestamp (the request time), n rows.
    raw: feature values (n, k) in the feature service's order; the join has enforced the TTLs.
    churned: bool (n,), no order in the label window that begins at the request time.
    active: bool (n,), an order in the `active_days` before the request time.
    same_day: bool (n,), an order between the cut-off and the request time, which windowed features do not include.
    """

    entities: pd.DataFrame
    raw: RawFeatures
    churned: NDArray[np.bool_]
    active: NDArray[np.bool_]
    same_day: NDArray[np.bool_]

    @property
    def fingerprint(self) -> str:
        """sha256 of the rows: ids, request times, values and labels."""
        digest = hashlib.sha256()
        digest.update(pd.util.hash_pandas_object(self.entities, index=False).to_numpy().tobytes())
        digest.update(np.ascontiguousarray(self.raw.values).tobytes())
        digest.update(self.churned.tobytes())
        return digest.hexdigest()


class TrainingData:
    """Reads training rows from the offline store and the orders file.

    Args:
        addresses: of the orders; None reads them from the environment.

    Attributes:
        schema: of the feature service; value columns are in its feature order.
        observed_until: every order before this time is known; UTC.

    Raises:
        DatasetError: there are no orders, a file of the offline store is missing or damaged, or Feast's registry reads
            another offline store.
    """

    def __init__(self, artefacts: Artefacts, feature_service: str, addresses: OrderAddresses | None = None) -> None:
        addresses = addresses or OrderAddresses.of(os.environ)
        self.observed_until = observed_until(addresses)
        if found := damage((artefacts.offline_store / "current").resolve()):
            raise DatasetError(found)
        self._orders = addresses.orders
        self._store = _open_feature_store(artefacts)
        if elsewhere := another_store(self._store.registry, self._store.project, artefacts.offline_store):
            raise DatasetError(refusal(redacted(artefacts.feast_registry), elsewhere, artefacts.offline_store))
        self._service = _feature_service(self._store, artefacts, feature_service)
        self.schema: FeatureSchema = read_feature_schema(self._store.registry, self._store.project, feature_service)

    def cutoffs(self, settings: TrainingSettings) -> Cutoffs:
        """The cut-offs by the settings.

        Raises:
            DatasetError: as `choose_cutoffs`; or the file holds no orders.
        """
        with open_order_history(self._orders) as history:
            first = history.first_order
        if first is None:
            raise DatasetError(f"{self._orders}: holds no orders")
        return choose_cutoffs(first, self.observed_until, settings)

    def rows(self, cutoffs: tuple[datetime, ...], settings: TrainingSettings) -> LabelledRows:
        """A row per cut-off and customer with an order before their request time, as serving would see it then.

        Features are those at the request time: per-order views include all orders until then, windowed views come from
        the cut-off's snapshot, and request inputs are the request time.

        Raises:
            DatasetError: the join lost or duplicated rows, or a view has no snapshot at a cut-off.
        """
        with open_order_history(self._orders) as history:
            by_cutoff = [history.customers_at(cutoff, settings) for cutoff in cutoffs]
        for cutoff, customers in zip(cutoffs, by_cutoff, strict=True):
            self._check_snapshots(cutoff, customers)
        labelled = pd.concat(by_cutoff, ignore_index=True)
        entities = labelled[["customer_id", "event_timestamp"]]
        values = self.features_at(entities)
        return LabelledRows(
            entities=entities,
            raw=RawFeatures(values=values, event_times=None),
            churned=labelled["churned"].to_numpy(dtype=bool),
            active=labelled["active"].to_numpy(dtype=bool),
            same_day=labelled["same_day"].to_numpy(dtype=bool),
        )

    def features_at(self, entities: pd.DataFrame) -> NDArray[np.float64]:
        """Point-in-time join: float64 (n, k) in the order of `entities` and of the feature service.

        Args:
            entities: customer_id and event_timestamp (datetime64[us, UTC]), n distinct rows.

        Raises:
            DatasetError: the join lost or duplicated rows.
        """
        entity_rows = entities[["customer_id", "event_timestamp"]].copy()
        for request_input in self.schema.request_inputs:
            entity_rows[request_input.name] = entity_rows["event_timestamp"].astype("int64")
        joined = self._store.get_historical_features(
            entity_df=entity_rows, features=self._service, full_feature_names=True
        ).to_df()
        keys = ["customer_id", "event_timestamp"]
        joined["event_timestamp"] = joined["event_timestamp"].astype("datetime64[us, UTC]")
        # The join returns rows in another order.
        ordered = entity_rows[keys].merge(joined, on=keys, how="left", validate="one_to_one")
        if len(joined) != len(entity_rows):
            raise DatasetError(f"the point-in-time join returned {len(joined)} rows for {len(entity_rows)}")
        names = [feature.name for feature in self.schema.features]
        return np.column_stack([ordered[name].astype(np.float64).to_numpy() for name in names])

    def view_ages(self, entities: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
        """View → age of the row that `features_at` uses: hours (n,), NaN without a row.

        Args:
            entities: as for `features_at`.
        """
        request_times = entities["event_timestamp"].dt.tz_localize(None).to_numpy()
        ages = {}
        for view in self.schema.views:
            times = row_times(self._store.get_feature_view(view.name), entities)
            hours = (request_times - times) / np.timedelta64(1, "h")
            ages[view.name] = np.where(hours * 3600 > (view.ttl_seconds or np.inf), np.nan, hours)
        return ages

    def _check_snapshots(self, cutoff: datetime, entities: pd.DataFrame) -> None:
        """Refuse a cut-off without a snapshot: training would see older windows than serving, or defaults."""
        sample = entities.iloc[:: max(1, len(entities) // _CHECKED_ROWS)]
        for view in self.schema.views:
            if view.ttl_seconds is None:
                continue
            times = pd.Series(row_times(self._store.get_feature_view(view.name), sample))
            oldest = np.datetime64(cutoff.replace(tzinfo=None)) - np.timedelta64(int(view.ttl_seconds), "s")
            shares = times.where(times >= oldest).value_counts(normalize=True, dropna=False)
            usual = shares.index[0] if len(shares) and shares.iloc[0] > _MAJORITY else None
            if usual is not None and (pd.isna(usual) or usual < pd.Timestamp(cutoff.replace(tzinfo=None))):
                raise DatasetError(
                    f"{view.name}: no snapshot at the cut-off {cutoff:%Y-%m-%d}; run `make features` with the same "
                    "TRAINING_LABEL_DAYS, TRAINING_TRAINING_CUTOFFS, TRAINING_CUTOFF_SPACING_DAYS and "
                    "TRAINING_REQUEST_HOURS as training"
                )


def live_schema(artefacts: Artefacts, feature_service: str) -> FeatureSchema:
    """The schema of a feature service in the live Feast registry; imports feast, which takes seconds.

    Raises:
        DatasetError: the registry does not have the feature service.
    """
    store = _open_feature_store(artefacts)
    _feature_service(store, artefacts, feature_service)
    return read_feature_schema(store.registry, store.project, feature_service)


def built_from(artefacts: Artefacts) -> str:
    """sha256 of the inputs of the current offline store build: orders by day, `observed_until`, and the code.

    The same orders give the same value on any day. Empty if the build has no record of its inputs.
    """
    return inputs_sha256(artefacts.offline_store / "current")


def _feature_service(store: "FeatureStore", artefacts: Artefacts, name: str) -> Any:
    try:
        return store.get_feature_service(name)
    except Exception as error:
        raise DatasetError(
            f"feature service {name!r} is not in {redacted(artefacts.feast_registry)}; run `make apply` first"
        ) from error


def _open_feature_store(artefacts: Artefacts) -> "FeatureStore":
    from scoring.feast.store import open_store

    return open_store(artefacts.feature_repo, artefacts)
