"""Makes training rows: labels, and features by the point-in-time join."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
from artefacts.build_files import damage
from artefacts.offline_place import another_store, is_built, refusal
from artefacts.process.redaction import redacted
from contract import FeatureInput, RawFeatures, RequestInput
from contract.values.request_values import asked_of, python_value
from scoring.errors import FeatureColumnError, FeatureSourceError
from scoring.evaluation import Bools, Labels
from scoring.feature_columns import encoded
from scoring.servable import why_not_served
from training.data.feature_service import filled, open_feature_service
from training.data.view_times import row_times
from training.errors import DatasetError
from training.row_splits.split_rows import REQUESTED_AT, Part
from training.tasks import Task

_CHECKED_ROWS = 2_000
"""Entities per cut-off whose rows' age is checked."""
_MAJORITY = 0.5
_MOST_LETTERS = 300
"""Of what a store says."""


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
    """Reads the features of labelled rows, from the build of the offline store or from a source that others fill.

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
        self._store, self._service, self.schema = open_feature_service(artefacts, feature_service)
        if elsewhere := another_store(self._store.registry, self._store.project, artefacts.offline_store):
            raise DatasetError(refusal(redacted(artefacts.feast_registry), elsewhere, artefacts.offline_store))
        if reasons := why_not_served(self.schema):
            raise DatasetError("; ".join(reasons))
        entities = self._store.get_feature_view(self.schema.views[0].name).entities
        self.entity: str = "_".join(entities)
        self._keys = [key.join_key for key in self.schema.entity_keys]
        views = [view.name for view in self.schema.views]
        self._built_here = {name for name in views if is_built(self._store.get_feature_view(name))}

    def rows(self, parts: Sequence[Part], task: Task) -> LabelledRows:
        """Labelled rows with their features, as serving would see them at their request times.

        Features are those at the request time: views of events include all events until then, windowed views that are
        built here come from the cut-off's snapshot, and request inputs are the request time or columns of the rows.

        Raises:
            DatasetError: the labels do not fit the task, the join lost or duplicated rows, a source cannot be read, or
                a view that is built here has no snapshot at a cut-off.
        """
        given = [item.name for item in self._given if item.default is None]
        for part in parts:
            if missing := [n for n in (*self._keys, REQUESTED_AT, task.target, *given) if n not in part.rows]:
                when = f" of {part.cutoff:%Y-%m-%d}" if part.cutoff else ""
                raise DatasetError(f"labels: the rows{when} have no column {missing[0]!r}")
            if nulls := [name for name in given if part.rows[name].isna().any()]:
                raise DatasetError(
                    f"labels: column {nulls[0]!r} has nulls, and a request must give this value; fill them, or give "
                    "the field of the RequestSource the tag default=…"
                )
            if part.cutoff is not None:
                self._check_snapshots(part.cutoff, part.rows)
        labelled = pd.concat([part.rows for part in parts], ignore_index=True)
        entities = labelled[[*self._keys, REQUESTED_AT]]
        labels = task.labels(labelled[task.target])
        others = {*entities, task.target, *(item.name for item in self._given)}
        groups = [name for name in map(str, labelled.columns) if name not in others]
        return LabelledRows(
            entities=entities,
            columns=self.features_at(labelled),
            labels=labels,
            groups={name: labelled[name].to_numpy(dtype=bool) for name in groups},
        )

    @property
    def filled(self) -> str:
        """sha256 of how far the sources are filled that somebody else fills: newest event time and rows by view.

        Empty if they have no rows, or are built here.

        Raises:
            DatasetError: a source cannot be read.
        """
        return filled(self._store, self.schema)

    @property
    def _given(self) -> tuple[RequestInput, ...]:
        """The values that a request brings."""
        return asked_of(self.schema.request_inputs)

    def features_at(self, entities: pd.DataFrame) -> pd.DataFrame:
        """Point-in-time join: n rows in the order of `entities`, a column per feature reference.

        Args:
            entities: the join keys, event_timestamp (datetime64[us, UTC]) and request values; n rows with distinct keys
                and times.

        Raises:
            DatasetError: the join failed, or lost or duplicated rows.
        """
        keys = [*self._keys, REQUESTED_AT]
        entity_rows = entities[keys].copy()
        for each in self.schema.request_inputs:
            if each.filled_by == "request":
                entity_rows[each.name] = _given_values(entities, each)
            else:
                entity_rows[each.name] = entity_rows[REQUESTED_AT].astype("int64")
        try:
            joined = self._store.get_historical_features(
                entity_df=entity_rows, features=self._service, full_feature_names=True
            ).to_df()
        except Exception as error:
            if self._built_here:
                raise
            said = redacted(" ".join(str(error).split())) or type(error).__name__
            raise DatasetError(f"the point-in-time join: {said[:_MOST_LETTERS]}") from error
        # PostgreSQL's store gives times in UTC without saying so.
        joined[REQUESTED_AT] = pd.to_datetime(joined[REQUESTED_AT], utc=True).astype("datetime64[us, UTC]")
        # The join returns rows in another order.
        ordered = entity_rows[keys].merge(joined, on=keys, how="left", validate="one_to_one")
        if len(joined) != len(entity_rows):
            raise DatasetError(f"the point-in-time join returned {len(joined)} rows for {len(entity_rows)}")
        columns = ordered[list(dict.fromkeys(feature.reference for feature in self.schema.features))]
        return self._without_expired(columns, entities)

    def _without_expired(self, columns: pd.DataFrame, entities: pd.DataFrame) -> pd.DataFrame:
        """Make on-demand features null where a row that they read is older than its TTL, as serving replaces them.

        The join gives on-demand code nulls of such rows. Serving gives it their values, and takes the default then.
        """
        stored = {view.name for view in self.schema.views}
        ttls = {view.name: view.ttl_seconds for view in self.schema.views if view.ttl_seconds is not None}
        computed = [
            feature
            for feature in self.schema.features
            if feature.view not in stored and feature.on_stale != "use_value" and ttls.keys() & set(feature.sources)
        ]
        moments = entities[REQUESTED_AT].dt.tz_localize(None).to_numpy()
        expired = {
            view: (moments - self._row_times(view, entities)) / np.timedelta64(1, "s") > ttls[view]  # NaT: no row
            for view in sorted({source for feature in computed for source in feature.sources} & ttls.keys())
        }
        for feature in computed:
            gone = np.any([expired[source] for source in feature.sources if source in expired], axis=0)
            columns = columns.assign(**{feature.reference: columns[feature.reference].mask(gone)})
        return columns

    def view_ages(self, entities: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
        """View → age of the row that `features_at` uses: hours (n,), NaN without a row.

        Args:
            entities: as for `features_at`.
        """
        request_times = entities["event_timestamp"].dt.tz_localize(None).to_numpy()
        ages = {}
        for view in self.schema.views:
            times = self._row_times(view.name, entities)
            hours = (request_times - times) / np.timedelta64(1, "h")
            ages[view.name] = np.where(hours * 3600 > (view.ttl_seconds or np.inf), np.nan, hours)
        return ages

    def _row_times(self, view: str, entities: pd.DataFrame) -> NDArray[np.datetime64]:
        try:
            return row_times(self._store, self._store.get_feature_view(view), entities)
        except FeatureSourceError as error:
            raise DatasetError(str(error)) from None

    def _check_snapshots(self, cutoff: datetime, entities: pd.DataFrame) -> None:
        """Refuse a cut-off without a snapshot: training would see older windows than serving, or defaults."""
        sample = entities.iloc[:: max(1, len(entities) // _CHECKED_ROWS)]
        for view in self.schema.views:
            if view.ttl_seconds is None or view.name not in self._built_here:
                continue
            times = pd.Series(self._row_times(view.name, sample))
            oldest = np.datetime64(cutoff.replace(tzinfo=None)) - np.timedelta64(int(view.ttl_seconds), "s")
            shares = times.where(times >= oldest).value_counts(normalize=True, dropna=False)
            usual = shares.index[0] if len(shares) and shares.iloc[0] > _MAJORITY else None
            if usual is not None and (pd.isna(usual) or usual < pd.Timestamp(cutoff.replace(tzinfo=None))):
                raise DatasetError(
                    f"{view.name}: no snapshot at the cut-off {cutoff:%Y-%m-%d}; run `make features` with the same "
                    "USE_CASE, TRAINING_LABEL_DAYS, TRAINING_TRAINING_CUTOFFS, TRAINING_CUTOFF_SPACING_DAYS and "
                    "TRAINING_REQUEST_HOURS as training"
                )


def _given_values(entities: pd.DataFrame, given: RequestInput) -> Any:
    """The values of a request input for n rows: where there is none, its default, as in a request."""
    if given.default is None:
        return entities.get(given.name)
    default = python_value(given.default, given.dtype)
    if given.name not in entities:
        return default
    return entities[given.name].map(lambda value: default if pd.isna(value) else value)
