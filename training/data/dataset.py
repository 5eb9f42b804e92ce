"""Labels and the point-in-time join: what was known of each customer at a cut-off, and what came after."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artefacts.addresses import PROJECT_ROOT, Artefacts
from artefacts.build_files import damage
from artefacts.cutoffs import Cutoffs, CutoffSettings, lay_back
from artefacts.offline_place import another_store, refusal
from artefacts.process.redaction import redacted
from contract import FeatureSchema, RawFeatures
from contract.feature_schema import read_feature_schema
from training.data.population import open_population
from training.data.view_times import row_times
from training.errors import DatasetError
from training.settings import TrainingSettings

if TYPE_CHECKING:
    from feast import FeatureStore

_CHECKED_ROWS = 2_000
"""Customers of each cut-off of whom it is looked up how old their rows are."""
_MOST = 0.5


@dataclass(frozen=True)
class LabelledRows:
    """n customers, each at a moment after a cut-off, as requests come.

    entities: customer_id and event_timestamp (the moment), one row each.
    raw: feature values in the order of the feature service, (n, k); TTLs enforced by the join.
    churned: bool (n,), no order in the label window that begins at the moment.
    active: bool (n,), an order in the `active_days` before the moment.
    same_day: bool (n,), an order between the cut-off and the moment: no windowed feature knows of it yet.
    """

    entities: pd.DataFrame
    raw: RawFeatures
    churned: NDArray[np.bool_]
    active: NDArray[np.bool_]
    same_day: NDArray[np.bool_]

    @property
    def fingerprint(self) -> str:
        """sha256 of the rows: ids, moments, values and labels."""
        digest = hashlib.sha256()
        digest.update(pd.util.hash_pandas_object(self.entities, index=False).to_numpy().tobytes())
        digest.update(np.ascontiguousarray(self.raw.values).tobytes())
        digest.update(self.churned.tobytes())
        return digest.hexdigest()


def choose_cutoffs(first_order: datetime, observed_until: datetime, settings: CutoffSettings) -> Cutoffs:
    """The cut-offs that are wanted, without those of training before the first order.

    Raises:
        DatasetError: the orders span too little time for one training cut-off.
    """
    wanted = lay_back(observed_until, settings)
    usable = tuple(t for t in wanted.training if t > first_order)
    if not usable:
        raise DatasetError(
            f"orders from {first_order:%Y-%m-%d} to {wanted.test + settings.reach:%Y-%m-%d} are too few: training, "
            f"validation and test each need {settings.reach.days} days after the first order, for the "
            f"{settings.label_days} days of a label and the hours of TRAINING_REQUEST_HOURS; "
            "a shorter TRAINING_LABEL_DAYS needs less"
        )
    return replace(wanted, training=usable)


def last_labelled(observed_until: datetime, settings: CutoffSettings) -> datetime:
    """The last midnight whose label windows were all observed to their ends: the test cut-off."""
    return lay_back(observed_until, settings).test


def observed_until(artefacts: Artefacts) -> datetime:
    """Before when every order is known, UTC, as the orders file says.

    Raises:
        DatasetError: there is none.
    """
    if not artefacts.orders.exists():
        raise DatasetError(f"{artefacts.orders}: no orders; run `make data` first")
    described: dict[str, str] = json.loads(pq.read_schema(artefacts.orders).metadata[b"orders"])
    return datetime.fromisoformat(described["observed_until"])


class TrainingData:
    """The offline store and the orders behind it, opened once.

    Attributes:
        schema: what the feature service offers; its feature order is the order of every value column.
        observed_until: every order before this time is known; UTC.

    Raises:
        DatasetError: there are no orders, a file of the offline store is missing or damaged, or Feast's registry reads
            another offline store.
    """

    def __init__(self, artefacts: Artefacts, feature_service: str) -> None:
        self.observed_until = observed_until(artefacts)
        if found := damage((artefacts.offline_store / "current").resolve(), artefacts.streamed_orders):
            raise DatasetError(found)
        self._orders = artefacts.orders
        self._store = _open_feature_store(artefacts)
        if elsewhere := another_store(self._store.registry, self._store.project, artefacts.offline_store):
            raise DatasetError(refusal(redacted(artefacts.feast_registry), elsewhere, artefacts.offline_store))
        self._service = _feature_service(self._store, artefacts, feature_service)
        self.schema: FeatureSchema = read_feature_schema(self._store.registry, self._store.project, feature_service)

    def cutoffs(self, settings: TrainingSettings) -> Cutoffs:
        """When these customers are looked at, as the settings have it.

        Raises:
            DatasetError: as `choose_cutoffs`; or there are no orders.
        """
        with open_population(self._orders) as population:
            first = population.first_order
        if first is None:
            raise DatasetError(f"{self._orders}: holds no orders")
        return choose_cutoffs(first, self.observed_until, settings)

    def rows(self, cutoffs: tuple[datetime, ...], settings: TrainingSettings) -> LabelledRows:
        """Every customer who ordered before a moment of their own after a cut-off, as one would be served then.

        Features are those of the moment: what is computed at each order knows the orders up to it, a windowed snapshot
        is that of the cut-off, and request-time inputs are the moment itself.

        Raises:
            DatasetError: the join lost or doubled rows, or a view has no rows of a cut-off.
        """
        with open_population(self._orders) as population:
            asked = [population.asked(cutoff, settings) for cutoff in cutoffs]
        for cutoff, rows in zip(cutoffs, asked, strict=True):
            self._check_snapshots(cutoff, rows)
        everybody = pd.concat(asked, ignore_index=True)
        entities = everybody[["customer_id", "event_timestamp"]]
        values = self.features_at(entities)
        return LabelledRows(
            entities=entities,
            raw=RawFeatures(values=values, event_times=None),
            churned=everybody["churned"].to_numpy(dtype=bool),
            active=everybody["active"].to_numpy(dtype=bool),
            same_day=everybody["same_day"].to_numpy(dtype=bool),
        )

    def features_at(self, entities: pd.DataFrame) -> NDArray[np.float64]:
        """Point-in-time join: float64 (n, k) in the order of `entities` and of the feature service.

        Args:
            entities: customer_id and event_timestamp (datetime64[us, UTC]), n distinct rows.

        Raises:
            DatasetError: the join lost or doubled rows.
        """
        asked = entities[["customer_id", "event_timestamp"]].copy()
        for request_input in self.schema.request_inputs:
            asked[request_input.name] = asked["event_timestamp"].astype("int64")
        joined = self._store.get_historical_features(
            entity_df=asked, features=self._service, full_feature_names=True
        ).to_df()
        keys = ["customer_id", "event_timestamp"]
        joined["event_timestamp"] = joined["event_timestamp"].astype("datetime64[us, UTC]")
        # The join gives the rows back in an order of its own.
        ordered = asked[keys].merge(joined, on=keys, how="left", validate="one_to_one")
        if len(joined) != len(asked):
            raise DatasetError(f"the point-in-time join returned {len(joined)} rows for {len(asked)}")
        names = [feature.name for feature in self.schema.features]
        return np.column_stack([ordered[name].astype(np.float64).to_numpy() for name in names])

    def view_ages(self, entities: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
        """How old the row of each stored view is that `features_at` takes: hours (n,), NaN where there is none.

        Args:
            entities: as `features_at` takes them.
        """
        moments = entities["event_timestamp"].dt.tz_localize(None).to_numpy()
        found = {}
        for view in self.schema.views:
            times = row_times(self._store.get_feature_view(view.name), entities)
            ages = (moments - times) / np.timedelta64(1, "h")
            found[view.name] = np.where(ages * 3600 > (view.ttl_seconds or np.inf), np.nan, ages)
        return found

    def _check_snapshots(self, cutoff: datetime, asked: pd.DataFrame) -> None:
        """Without the snapshot of a cut-off, training would see older windows than serving does, or defaults."""
        some = asked.iloc[:: max(1, len(asked) // _CHECKED_ROWS)]
        for view in self.schema.views:
            if view.ttl_seconds is None:
                continue
            times = pd.Series(row_times(self._store.get_feature_view(view.name), some))
            oldest = np.datetime64(cutoff.replace(tzinfo=None)) - np.timedelta64(int(view.ttl_seconds), "s")
            usual = times.where(times >= oldest).value_counts(normalize=True, dropna=False)
            newest = usual.index[0] if len(usual) and usual.iloc[0] > _MOST else None
            if newest is not None and (pd.isna(newest) or newest < pd.Timestamp(cutoff.replace(tzinfo=None))):
                raise DatasetError(
                    f"{view.name}: no snapshot at the cut-off {cutoff:%Y-%m-%d}; run `make features` with the same "
                    "TRAINING_LABEL_DAYS, TRAINING_TRAINING_CUTOFFS, TRAINING_CUTOFF_SPACING_DAYS and "
                    "TRAINING_REQUEST_HOURS as training: it makes snapshots for them"
                )


def live_schema(artefacts: Artefacts, feature_service: str) -> FeatureSchema:
    """What the live Feast registry offers for a feature service; imports feast, which takes seconds.

    Raises:
        DatasetError: it does not have the feature service.
    """
    store = _open_feature_store(artefacts)
    _feature_service(store, artefacts, feature_service)
    return read_feature_schema(store.registry, store.project, feature_service)


def built_from(artefacts: Artefacts) -> str:
    """sha256 of what the build in place was made of: its orders by day, until when they are known, and the code.

    Empty where the offline store was not built here and does not say. A build of the same orders gives the same value
    whatever day it is made on.
    """
    try:
        build = json.loads((artefacts.offline_store / "current" / "build.json").read_text(encoding="utf-8"))
        made_of = {name: build[name] for name in ("observed_until", "days", "definition")}
    except (OSError, ValueError, KeyError):
        return ""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _feature_service(store: "FeatureStore", artefacts: Artefacts, name: str) -> Any:
    try:
        return store.get_feature_service(name)
    except Exception as error:
        raise DatasetError(
            f"feature service {name!r} is not in {redacted(artefacts.feast_registry)}; run `make apply` first"
        ) from error


def _open_feature_store(artefacts: Artefacts) -> "FeatureStore":
    from scoring.feast.store import open_store

    return open_store(PROJECT_ROOT / "feature_repo", artefacts)
