"""Labels and the point-in-time join: what was known of each customer at a cut-off, and what came after."""

import hashlib
import json
import logging
import os
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contract import FeatureSchema, RawFeatures
from contract.artefacts import PROJECT_ROOT, Artefacts
from contract.build_files import damage
from contract.feature_schema import read_feature_schema
from contract.offline_place import another_store, refusal
from contract.redaction import redacted
from training.errors import DatasetError
from training.settings import TrainingSettings

if TYPE_CHECKING:
    from feast import FeatureStore


@dataclass(frozen=True)
class Cutoffs:
    """When customers are looked at; no label window reaches into a later split.

    training: ascending; the last label window ends at or before `validation`.
    validation: its label window ends at or before `test`.
    test: the last time whose label window was wholly observed.
    """

    training: tuple[datetime, ...]
    validation: datetime
    test: datetime


@dataclass(frozen=True)
class LabelledRows:
    """n customers at their cut-offs.

    entities: customer_id and event_timestamp (the cut-off), one row each.
    raw: feature values in the order of the feature service, (n, k); TTLs enforced by the join.
    churned: bool (n,), no order in the label window.
    active: bool (n,), an order in the `active_days` before the cut-off.
    """

    entities: pd.DataFrame
    raw: RawFeatures
    churned: NDArray[np.bool_]
    active: NDArray[np.bool_]

    @property
    def fingerprint(self) -> str:
        """sha256 of the rows: ids, cut-offs, values and labels."""
        digest = hashlib.sha256()
        digest.update(pd.util.hash_pandas_object(self.entities, index=False).to_numpy().tobytes())
        digest.update(np.ascontiguousarray(self.raw.values).tobytes())
        digest.update(self.churned.tobytes())
        return digest.hexdigest()


def choose_cutoffs(
    first_order: datetime, observed_until: datetime, label_days: int, training: int, spacing_days: int
) -> Cutoffs:
    """Lay the cut-offs back from the last fully observed label window.

    Args:
        training: how many training cut-offs are wanted; those before the first order are left out.

    Raises:
        DatasetError: the orders span too little time for one training cut-off.
    """
    label = timedelta(days=label_days)
    test = last_labelled(observed_until, label_days)
    end, validation = test + label, test - label
    wanted = [validation - label - timedelta(days=k * spacing_days) for k in range(training)]
    usable = tuple(sorted(t for t in wanted if t > first_order))
    if not usable:
        raise DatasetError(
            f"orders from {first_order:%Y-%m-%d} to {end:%Y-%m-%d} are too few: training, validation and test "
            f"each need a label window of {label_days} days after the first order; "
            "a shorter TRAINING_LABEL_DAYS needs less"
        )
    return Cutoffs(training=usable, validation=validation, test=test)


def last_labelled(observed_until: datetime, label_days: int) -> datetime:
    """The last midnight whose label window was wholly observed: the test cut-off."""
    return observed_until.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=label_days)


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
        table = pq.read_table(artefacts.orders, columns=["order_id", "customer_id", "event_timestamp"])
        # As docs/features.md has it: rows with one customer and order_id are one order, at its first time.
        self._orders = table.to_pandas().sort_values("event_timestamp").drop_duplicates(["customer_id", "order_id"])
        self._store = _open_feature_store(artefacts)
        if elsewhere := another_store(self._store.registry, self._store.project, artefacts.offline_store):
            raise DatasetError(refusal(redacted(artefacts.feast_registry), elsewhere, artefacts.offline_store))
        self._service = _feature_service(self._store, artefacts, feature_service)
        self.schema: FeatureSchema = read_feature_schema(self._store.registry, self._store.project, feature_service)

    @property
    def first_order(self) -> datetime:
        """Time of the very first order, UTC."""
        first: datetime = self._orders["event_timestamp"].min().to_pydatetime()
        return first

    def cutoffs(self, settings: TrainingSettings) -> Cutoffs:
        """When these customers are looked at, as the settings have it. Raises as `choose_cutoffs`."""
        return choose_cutoffs(
            self.first_order,
            self.observed_until,
            settings.label_days,
            settings.training_cutoffs,
            settings.cutoff_spacing_days,
        )

    def rows(self, cutoffs: tuple[datetime, ...], label_days: int, active_days: int) -> LabelledRows:
        """Every customer who ordered before a cut-off, with features at it and the label after it.

        Raises:
            DatasetError: the join lost or doubled rows, or a cut-off has no fresh rows in some view.
        """
        customers, churned, active = [], [], []
        times = self._orders["event_timestamp"]
        for cutoff in cutoffs:
            seen = np.sort(self._orders.loc[times < cutoff, "customer_id"].unique().astype(str))
            window = (times >= cutoff) & (times < cutoff + timedelta(days=label_days))
            recent = (times < cutoff) & (times >= cutoff - timedelta(days=active_days))
            churned.append(~np.isin(seen, self._orders.loc[window, "customer_id"].unique().astype(str)))
            active.append(np.isin(seen, self._orders.loc[recent, "customer_id"].unique().astype(str)))
            customers.append(pd.DataFrame({"customer_id": seen.astype(object), "event_timestamp": cutoff}))
        entities = pd.concat(customers, ignore_index=True)
        entities["event_timestamp"] = entities["event_timestamp"].astype("datetime64[us, UTC]")
        values = self.features_at(entities)
        self._check_freshness(entities, values)
        return LabelledRows(
            entities=entities,
            raw=RawFeatures(values=values, event_times=None),
            churned=np.concatenate(churned),
            active=np.concatenate(active),
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

    def _check_freshness(self, entities: pd.DataFrame, values: NDArray[np.float64]) -> None:
        """A cut-off between two snapshots would silently train on defaults."""
        for view in self.schema.views:
            columns = [i for i, f in enumerate(self.schema.features) if f.sources == (view.name,)]
            empty = np.isnan(values[:, columns]).all(axis=1)
            for cutoff, share in pd.Series(empty).groupby(entities["event_timestamp"]).mean().items():
                if columns and share > 0.5:
                    raise DatasetError(
                        f"{view.name}: {share:.0%} of customers have no fresh row at cut-off {cutoff}; "
                        "run `make features` with a JOBS_SNAPSHOT_BACKFILL_DAYS that divides the cut-offs' spacing"
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
    os.environ.update(artefacts.feast_environment())
    from feast import FeatureStore

    # It warns that serve_features_while_materializing matters only with a SQL registry; the YAML serves both.
    logging.getLogger("feast.repo_config").setLevel(logging.ERROR)
    # ibis 12 calls a name that duckdb 1.5 deprecates; feast switches the warning on.
    warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)
    warnings.filterwarnings("ignore", "GitWildMatchPattern", DeprecationWarning)  # likewise bentoml 1.4.39 of pathspec
    return FeatureStore(repo_path=str(PROJECT_ROOT / "feature_repo"))
