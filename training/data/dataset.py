"""Makes training rows: labels, and features by the point-in-time join."""

import hashlib
from collections.abc import Mapping, Sequence
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
from contract import FeatureInput, FeatureSchema, RawFeatures
from contract.registry_schema import read_feature_schema
from scoring.errors import FeatureColumnError
from scoring.evaluation import Bools, Labels
from scoring.feature_columns import encoded
from scoring.servable import why_not_served
from training.data.label_windows import choose_cutoffs
from training.data.view_times import row_times
from training.errors import DatasetError
from training.settings import TrainingSettings
from training.tasks import Task
from training.use_case import LabelSource

if TYPE_CHECKING:
    from feast import FeatureStore

_CHECKED_ROWS = 2_000
"""Entities per cut-off whose rows' age is checked."""
_MAJORITY = 0.5


@dataclass(frozen=True)
class LabelledRows:
    """n entities, each at a simulated request time after a cut-off.

    entities: the join keys and event_timestamp (the request time), n rows.
    columns: values of the features, as Feast gives them: n rows, a column per feature reference, in the feature
        service's order; the join has enforced the TTLs.
    labels: (n,), as the task's metrics take them.
    groups: name → mask (n,), from the label source.
    """

    entities: pd.DataFrame
    columns: pd.DataFrame
    labels: Labels
    groups: Mapping[str, Bools]

    @property
    def as_of(self) -> NDArray[np.float64]:
        """Request times in unix seconds, (n,)."""
        seconds: NDArray[np.float64] = self.entities["event_timestamp"].astype("int64").to_numpy() / 1e6
        return seconds

    def raw(self, inputs: Sequence[FeatureInput]) -> RawFeatures:
        """The values as `contract.Resolver` takes them.

        Raises:
            DatasetError: a column holds values of another type than the input.
        """
        try:
            return RawFeatures(encoded(self.columns, inputs), event_times=None)
        except FeatureColumnError as error:
            raise DatasetError(str(error)) from None

    def fingerprint(self, inputs: Sequence[FeatureInput]) -> str:
        """sha256 of the rows: ids, request times, values and labels."""
        digest = hashlib.sha256()
        digest.update(pd.util.hash_pandas_object(self.entities, index=False).to_numpy().tobytes())
        digest.update(np.ascontiguousarray(self.raw(inputs).values).tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()


class TrainingData:
    """Reads training rows from the offline store and a label source.

    Attributes:
        schema: of the feature service; value columns are in its feature order.
        entity: name of the entity that the join keys identify.

    Raises:
        DatasetError: a file of the offline store is missing or damaged, Feast's registry reads another offline store,
            or no service could answer with this feature service.
    """

    def __init__(self, artefacts: Artefacts, feature_service: str) -> None:
        if found := damage((artefacts.offline_store / "current").resolve()):
            raise DatasetError(found)
        self._store = _open_feature_store(artefacts)
        if elsewhere := another_store(self._store.registry, self._store.project, artefacts.offline_store):
            raise DatasetError(refusal(redacted(artefacts.feast_registry), elsewhere, artefacts.offline_store))
        self._service = _feature_service(self._store, artefacts, feature_service)
        self.schema: FeatureSchema = read_feature_schema(self._store.registry, self._store.project, feature_service)
        if reasons := why_not_served(self.schema):
            raise DatasetError("; ".join(reasons))
        entities = self._store.get_feature_view(self.schema.views[0].name).entities
        self.entity: str = "_".join(entities)
        self._keys = [key.join_key for key in self.schema.entity_keys]

    def rows(
        self, source: LabelSource, task: Task, cutoffs: tuple[datetime, ...], settings: TrainingSettings
    ) -> LabelledRows:
        """A row per cut-off and entity of the label source, as serving would see it at its request time.

        Features are those at the request time: views of events include all events until then, windowed views come from
        the cut-off's snapshot, and request inputs are the request time.

        Raises:
            DatasetError: the labels do not fit the task, the join lost or duplicated rows, or a view has no snapshot at
                a cut-off.
        """
        by_cutoff = [self._labelled(source, task, cutoff, settings) for cutoff in cutoffs]
        for cutoff, rows in zip(cutoffs, by_cutoff, strict=True):
            self._check_snapshots(cutoff, rows)
        labelled = pd.concat(by_cutoff, ignore_index=True)
        entities = labelled[[*self._keys, "event_timestamp"]]
        labels = task.labels(labelled[task.target])
        groups = [name for name in map(str, labelled.columns) if name not in (*entities, task.target)]
        return LabelledRows(
            entities=entities,
            columns=self.features_at(entities),
            labels=labels,
            groups={name: labelled[name].to_numpy(dtype=bool) for name in groups},
        )

    def _labelled(self, source: LabelSource, task: Task, cutoff: datetime, settings: TrainingSettings) -> pd.DataFrame:
        rows = source.rows(cutoff, settings, settings.seed)
        if missing := [name for name in (*self._keys, "event_timestamp", task.target) if name not in rows]:
            raise DatasetError(f"labels: the rows of {cutoff:%Y-%m-%d} have no column {missing[0]!r}")
        return rows

    def features_at(self, entities: pd.DataFrame) -> pd.DataFrame:
        """Point-in-time join: n rows in the order of `entities`, a column per feature reference.

        Args:
            entities: the join keys and event_timestamp (datetime64[us, UTC]), n distinct rows.

        Raises:
            DatasetError: the join lost or duplicated rows.
        """
        keys = [*self._keys, "event_timestamp"]
        entity_rows = entities[keys].copy()
        for request_input in self.schema.request_inputs:
            entity_rows[request_input.name] = entity_rows["event_timestamp"].astype("int64")
        joined = self._store.get_historical_features(
            entity_df=entity_rows, features=self._service, full_feature_names=True
        ).to_df()
        joined["event_timestamp"] = joined["event_timestamp"].astype("datetime64[us, UTC]")
        # The join returns rows in another order.
        ordered = entity_rows[keys].merge(joined, on=keys, how="left", validate="one_to_one")
        if len(joined) != len(entity_rows):
            raise DatasetError(f"the point-in-time join returned {len(joined)} rows for {len(entity_rows)}")
        return ordered[list(dict.fromkeys(feature.reference for feature in self.schema.features))]

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
                    "USE_CASE, TRAINING_LABEL_DAYS, TRAINING_TRAINING_CUTOFFS, TRAINING_CUTOFF_SPACING_DAYS and "
                    "TRAINING_REQUEST_HOURS as training"
                )


def cutoffs_of(source: LabelSource, settings: TrainingSettings) -> Cutoffs:
    """The cut-offs that the settings give on the time that a label source knows.

    Raises:
        DatasetError: as `choose_cutoffs`; or there are no events.
    """
    until = source.observed_until()
    return choose_cutoffs(source.first_event(), until, settings)


def live_schema(artefacts: Artefacts, feature_service: str) -> FeatureSchema:
    """The schema of a feature service in the live Feast registry; imports feast, which takes seconds.

    Raises:
        DatasetError: the registry does not have the feature service.
    """
    store = _open_feature_store(artefacts)
    _feature_service(store, artefacts, feature_service)
    return read_feature_schema(store.registry, store.project, feature_service)


def built_from(artefacts: Artefacts) -> str:
    """sha256 of the inputs of the current offline store build: the events by day, `observed_until`, and the code.

    The same events give the same value on any day. Empty if the build has no record of its inputs.
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
