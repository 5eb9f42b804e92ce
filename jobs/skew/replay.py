"""Replays logged decisions: the vectors that rows of the offline store would have given the model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from contract import FeatureState, ModelContract, ResolvedFeatures, Resolver
from contract.values.overrides import KEPT_NULL
from jobs.inference_log.reading import LoggedRows, given_values
from jobs.offline_store.column_types import check_columns
from jobs.offline_store.latest_rows import ViewSource
from jobs.offline_store.offline_features import FeaturePlan, StoredRows, live_schema
from jobs.offline_store.view_files import resolved
from jobs.skew.evidence import Bools, Floats, Replayed
from jobs.skew.past_rows import Decisions, RowChoice, ViewHistory
from jobs.skew.view_evidence import Replay

if TYPE_CHECKING:
    from feast import FeatureStore


class OfflineReplay:
    """Makes a model's vectors from rows of the offline store as it is now.

    The registry may compute on-demand features by other code than the contract promises. An audit is to find exactly
    that, so the registry's code is used and `notes` say so. Any other broken promise is refused.

    n is the number of decisions, v of stored views, k of the model's inputs.

    Attributes:
        contract: the given one, but for the code of on-demand views.
        sources: the views that are read, in the build in place.
        plan: how stored columns become the model's inputs.
        own_columns: for each view the columns of inputs that are made from it alone.
        computed_from: column of an on-demand input → columns of the stored inputs whose views it is computed from.
        notes: one line for each on-demand view whose code is not the contract's.

    Raises:
        ContractMismatchError: the registry no longer offers what the contract promises.
        JobError: as `FeaturePlan.of`, or a file of the offline store is not what a view declares.
    """

    def __init__(self, store: "FeatureStore", contract: ModelContract, connection: duckdb.DuckDBPyConnection) -> None:
        contract, self.notes = _with_live_transformations(store, contract)
        self.contract = contract
        self._connection = connection
        self.plan = FeaturePlan.of(store, contract)
        self._resolver = Resolver.of(contract)
        views = [view.name for view in contract.feature_schema.views]
        registered = [store.registry.get_feature_view(name, store.project) for name in views]
        self.sources = [resolved(ViewSource.of(view, store.repo_path)) for view in registered]
        for source in self.sources:
            check_columns(source)
        self._histories = [ViewHistory(source) for source in self.sources]
        self._views = views
        self._made_of = [[views.index(source) for source in feature.sources] for feature in contract.inputs]
        self.own_columns = [[c for c, made_of in enumerate(self._made_of) if made_of == [v]] for v in range(len(views))]
        # An input is logged with the time of its oldest row, so an input of one view alone has the time of that row.
        self._time_column = [
            min((c for c, sources in enumerate(self._made_of) if v in sources), key=lambda c: len(self._made_of[c]))
            if any(v in sources for sources in self._made_of)
            else None
            for v in range(len(views))
        ]
        stored = {c: feature.view for c, feature in enumerate(contract.inputs) if feature.view in views}
        self.computed_from = {
            c: tuple(s for s, view in stored.items() if view in feature.sources)
            for c, feature in enumerate(contract.inputs)
            if c not in stored
        }

    @property
    def width(self) -> int:
        """Number of inputs of the model."""
        return len(self._made_of)

    def replay(self, which: RowChoice, rows: LoggedRows) -> Replay:
        """Vectors of n decisions, made from that row of each view."""
        served_us = self.served_us(rows)
        past = {
            view: history.rows(
                self._connection,
                which,
                Decisions(rows.keys, rows.as_of_us, served_us[:, v]),
                self.plan.views[view],
            )
            for v, (view, history) in enumerate(zip(self._views, self._histories, strict=True))
        }
        stored = {view: of.rows for view, of in past.items()}
        resolved_features = self.resolve(stored, rows)
        event_us, created_us, known_us, made_by = (
            np.column_stack([getattr(of, part) for of in past.values()])
            for part in ("event_us", "created_us", "known_us", "made_by")
        )
        return Replay(
            resolved=resolved_features,
            vectors=Replayed(
                values=resolved_features.matrix,
                event_us=self._per_input(event_us, np.fmin),
                missing=resolved_features.states == FeatureState.MISSING,
                created_us=self._per_input(created_us, np.fmax),
                known_us=self._per_input(known_us, np.fmax),
                made_by=self._per_input(made_by, np.fmax),
            ),
            rows=stored,
            event_us=event_us,
            known_us=known_us,
            made_by=made_by,
        )

    def resolve(self, past: Mapping[str, StoredRows], rows: LoggedRows) -> ResolvedFeatures:
        """What the model would see, given a row of every view and the values that the requests gave."""
        raw = self.plan.assemble(rows.keys, past, rows.as_of_us, given_values(rows.table, self.contract))
        overridden = rows.states == FeatureState.OVERRIDDEN
        given = np.where(np.isnan(rows.inputs), KEPT_NULL, rows.inputs.astype(np.float64))
        overrides = {
            int(column): np.where(overridden[:, column], given[:, column], np.nan)
            for column in np.flatnonzero(overridden.any(axis=0))
        }
        return self._resolver.resolve(raw, rows.as_of_us / 1e6, overrides)

    def served_us(self, rows: LoggedRows) -> Floats:
        """Event time of the row of each view that was served, float64 (n, v); NaN for none."""
        nothing = np.full(len(rows), np.nan)
        return np.column_stack([nothing if c is None else rows.event_us[:, c] for c in self._time_column])

    def in_place_us(self, rows: LoggedRows) -> Floats:
        """When the build was made that was in place at each decision, float64 (n, v); NaN where that is not known."""
        return np.column_stack([history.in_place(rows.as_of_us) for history in self._histories])

    def held(self, served_us: Floats) -> Bools:
        """Bool (n, v): the build in place still has the partition of this event time."""
        return np.column_stack([history.holds(served_us[:, v]) for v, history in enumerate(self._histories)])

    def any_view(self, of_views: Bools) -> Bools:
        """(n, v) → (n, k): true for at least one view of the input."""
        return np.equal(self._per_input(of_views.astype(np.float64), np.fmax), 1.0)

    def _per_input(self, of_views: Floats, reduce: np.ufunc) -> Floats:
        """(n, v) → (n, k), reduced over the views of each input; NaN for an input of the request alone."""
        nothing = np.full(len(of_views), np.nan)
        return np.column_stack(
            [reduce.reduce(of_views[:, made_of], axis=1) if made_of else nothing for made_of in self._made_of]
        )


def _with_live_transformations(store: "FeatureStore", contract: ModelContract) -> tuple[ModelContract, list[str]]:
    schema = contract.feature_schema
    live = live_schema(store, contract).transformations
    changed = [name for name, sha256 in schema.transformations.items() if live.get(name, sha256) != sha256]
    with_live = schema.model_copy(
        update={"transformations": {**schema.transformations, **{name: live[name] for name in changed}}}
    )
    notes = [
        f"on-demand view {name}: the registry's code is not that of the contract; it is replayed by the registry's"
        for name in changed
    ]
    return contract.model_copy(update={"feature_schema": with_live}), notes
