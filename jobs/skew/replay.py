"""One model's logged decisions, replayed from the offline store and counted by what differs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contract import FeatureState, ModelContract, ResolvedFeatures, Resolver
from jobs.inference_log.reading import LoggedRows
from jobs.offline_store.latest_rows import ViewSource, check_columns
from jobs.offline_store.offline_features import FeaturePlan, StoredRows, live_schema
from jobs.offline_store.view_files import resolved
from jobs.skew.classes import Bools, Evidence, Floats, Replayed, Served, classify, differing
from jobs.skew.evidence import Replay, mistimed_views, served_of, unbuilt_views, zeroed_views
from jobs.skew.findings import AGREES, FINDINGS, Finding, code
from jobs.skew.past_rows import TIMESTAMP, Moments, ViewHistory, Which
from jobs.skew.report import WHOLE_ROW, AuditResult
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import outcomes

if TYPE_CHECKING:
    from feast import FeatureStore

REPRODUCED_WITHIN = 1e-6
"""Of a logged probability; the size of a batch alone changes the last bits of what ONNX Runtime computes."""


class ModelReplay:
    """A model, the offline store as it is now, and a plan of how one is made the other's input.

    The registry may compute on-demand features by other code than the contract promises: that is what an audit is to
    find, so they are computed as the registry has it and `notes` say so. Any other broken promise is refused.

    Args:
        build_max_age_seconds: how old the build in place may become before one was missed.

    Attributes:
        sources: of every view that is read, in the build in place.

    Raises:
        ContractMismatchError: the registry no longer offers what the contract promises.
        JobError: as `FeaturePlan.of`, or a file of the offline store is not what a view declares.
    """

    def __init__(
        self,
        store: "FeatureStore",
        model: ImportedModel,
        connection: duckdb.DuckDBPyConnection,
        build_max_age_seconds: float,
    ) -> None:
        contract, self.notes = _with_live_transformations(store, model.contract)
        self._model = model
        self._connection = connection
        self._build_max_age_us = build_max_age_seconds * 1e6
        self._plan = FeaturePlan.of(store, contract)
        self._resolver = Resolver.of(contract)
        views = [view.name for view in contract.feature_schema.views]
        self.sources = [resolved(ViewSource.of(store.registry.get_feature_view(name, store.project))) for name in views]
        for source in self.sources:
            check_columns(source)
        self._histories = [ViewHistory(source) for source in self.sources]
        self._views = views
        self._made_of = [[views.index(source) for source in feature.sources] for feature in contract.inputs]
        # The logged time of an input is that of its oldest row; one of a single view tells the time of that view's row.
        self._tells_time = [
            min((c for c, sources in enumerate(self._made_of) if v in sources), key=lambda c: len(self._made_of[c]))
            if any(v in sources for sources in self._made_of)
            else None
            for v in range(len(views))
        ]
        stored = {c: feature.view for c, feature in enumerate(contract.inputs) if feature.view in views}
        self._computed_from = {
            c: tuple(s for s, view in stored.items() if view in feature.sources)
            for c, feature in enumerate(contract.inputs)
            if c not in stored
        }

    @property
    def width(self) -> int:
        """How many inputs the model has."""
        return len(self._made_of)

    def under_its_contract(self, table: pa.Table, found: AuditResult) -> pa.Table:
        """Without rows that were scored under another contract than the one stored with the model; they are counted."""
        own = pc.equal(table["contract_sha256"], self._model.contract_sha256)
        if foreign := table.num_rows - (pc.sum(own).as_py() or 0):
            found.problems.append(f"{foreign:,} rows of model {self._model.tag} were scored under another contract")
        return table.filter(own)

    def audit(self, rows: LoggedRows, found: AuditResult) -> None:
        """Replay n rows and count what differs."""
        names = self._model.contract.feature_names
        found.rows += len(rows)
        found.values += int(rows.known.sum()) * len(names)
        found.models[self._model.tag] += len(rows)
        found.statuses.update(rows.table["status"].to_pylist())
        valid = self._replay(Which.VALID, rows)
        served = served_of(rows)
        differs = differing(served, valid.vectors) & rows.known[:, None]
        served_us = self._served_us(rows)
        other_row = np.isfinite(served_us) & np.not_equal(served_us, valid.event_us)
        found.defaulted_alike += int((rows.defaulted & valid.resolved.defaulted & ~differs).sum())
        codes = np.where(served.overridden, np.uint8(code(Finding.OVERRIDE)), np.uint8(AGREES))
        looked_at = np.flatnonzero(np.concatenate([differs, other_row], axis=1).any(axis=1))
        if len(looked_at):
            codes[looked_at] = self._classified(rows.take(looked_at), served.take(looked_at))
        different = np.flatnonzero((codes > code(Finding.OVERRIDE)).any(axis=1))
        for column, name in enumerate(names):
            for number, count in enumerate(np.bincount(codes[:, column], minlength=len(FINDINGS) + 1).tolist()):
                if number != AGREES and count:
                    found.findings[name, FINDINGS[number - 1]] += count
        lag = codes == code(Finding.LAG)
        seconds = np.where(lag, (valid.vectors.event_us - served.event_us) / 1e6, 0.0)
        found.largest_lag_seconds = max(found.largest_lag_seconds, float(seconds.max(initial=0.0)))
        self._note_examples(rows, codes, served, valid.vectors, found)
        appeared = self._count_unknown(rows, valid.resolved.known, found)
        found.differing_rows += len(different) + len(appeared)
        dropped = (codes == code(Finding.NO_LONGER_STORED)).any(axis=1)
        found.unreplayable_rows += int(dropped.sum())
        again = np.union1d(different, appeared).astype(np.intp)
        self._count_moved(rows, valid.resolved, again[~dropped[again]], found)
        found.compared_rows += int((~dropped).sum())
        self._count_not_reproduced(rows, found)

    def _classified(self, rows: LoggedRows, served: Served) -> NDArray[np.uint8]:
        valid, known, of_served, first = (self._replay(which, rows) for which in Which)
        served_us = self._served_us(rows)
        held = np.column_stack([of.holds(served_us[:, v]) for v, of in enumerate(self._histories)])
        in_place_us = np.column_stack([of.in_place(rows.as_of_us) for of in self._histories])
        own = [[c for c, made_of in enumerate(self._made_of) if made_of == [v]] for v in range(len(self._views))]
        mistimed, future = mistimed_views(served, served_us, held, (valid, known), of_served, own)
        overdue = served.as_of_us[:, None] - in_place_us > self._build_max_age_us
        zeroed = zeroed_views(
            self._plan, of_served.rows, differing(served, valid.vectors), lambda past: self._resolved(past, rows).matrix
        )
        return classify(
            Evidence(
                served=served,
                valid=valid.vectors,
                known=known.vectors,
                served_rows=(of_served.vectors, first.vectors),
                dropped=self._any_view(~held),
                computed_from=self._computed_from,
                mistimed=self._any_view(mistimed),
                future=self._any_view(future),
                unbuilt=self._any_view(unbuilt_views(valid, served.as_of_us, in_place_us)),
                overdue=self._any_view(overdue),
                zeroed=tuple(zeroed),
            )
        )

    def _replay(self, which: Which, rows: LoggedRows) -> Replay:
        served_us = self._served_us(rows)
        past = {
            view: history.rows(
                self._connection,
                which,
                Moments(rows.customer_ids, rows.as_of_us, served_us[:, v]),
                self._plan.views[view],
            )
            for v, (view, history) in enumerate(zip(self._views, self._histories, strict=True))
        }
        stored = {view: of.rows for view, of in past.items()}
        made = self._resolved(stored, rows)
        event_us, created_us, known_us, made_by = (
            np.column_stack([getattr(of, part) for of in past.values()])
            for part in ("event_us", "created_us", "known_us", "made_by")
        )
        return Replay(
            resolved=made,
            vectors=Replayed(
                values=made.matrix,
                event_us=self._per_input(event_us, np.fmin),
                missing=made.states == FeatureState.MISSING,
                created_us=self._per_input(created_us, np.fmax),
                known_us=self._per_input(known_us, np.fmax),
                made_by=self._per_input(made_by, np.fmax),
            ),
            rows=stored,
            event_us=event_us,
            known_us=known_us,
            made_by=made_by,
        )

    def _resolved(self, past: Mapping[str, StoredRows], rows: LoggedRows) -> ResolvedFeatures:
        """What the model would see of rows of every view, beside what the requests gave."""
        raw = self._plan.assemble(rows.customer_ids, past, rows.as_of_us)
        overridden = rows.states == FeatureState.OVERRIDDEN
        overrides = {
            int(column): np.where(overridden[:, column], rows.inputs[:, column].astype(np.float64), np.nan)
            for column in np.flatnonzero(overridden.any(axis=0))
        }
        return self._resolver.resolve(raw, rows.as_of_us / 1e6, overrides)

    def _served_us(self, rows: LoggedRows) -> Floats:
        """Event time of each view's row that was served, float64 (n, v), NaN for none."""
        nothing = np.full(len(rows), np.nan)
        return np.column_stack([nothing if c is None else rows.event_us[:, c] for c in self._tells_time])

    def _per_input(self, of_views: Floats, reduce: np.ufunc) -> Floats:
        """(n, v) → (n, k): over the views that an input is made of; NaN for one of the request alone."""
        nothing = np.full(len(of_views), np.nan)
        return np.column_stack(
            [reduce.reduce(of_views[:, made_of], axis=1) if made_of else nothing for made_of in self._made_of]
        )

    def _any_view(self, of_views: Bools) -> Bools:
        """(n, v) → (n, k): true of one of the views that an input is made of."""
        return np.equal(self._per_input(of_views.astype(np.float64), np.fmax), 1.0)

    def _count_unknown(self, rows: LoggedRows, known_offline: Bools, found: AuditResult) -> NDArray[np.intp]:
        """Customers who were unknown online though the offline store has rows of them; their positions."""
        appeared = np.flatnonzero(~rows.known & known_offline)
        if len(appeared):
            of_them = rows.take(appeared)
            known_then = self._replay(Which.KNOWN, of_them).resolved.known
            as_of_us = of_them.as_of_us.astype(np.float64)
            in_place_us = np.column_stack([of.in_place(of_them.as_of_us) for of in self._histories])
            # Unknown for want of a build only if no view's row could have been built.
            valid = self._replay(Which.VALID, of_them)
            no_row = np.isnan(valid.event_us)
            unbuilt = np.logical_and.reduce(unbuilt_views(valid, as_of_us, in_place_us) | no_row, axis=1)
            overdue = np.logical_or.reduce(as_of_us[:, None] - in_place_us > self._build_max_age_us, axis=1)
            for row, was_known in enumerate(known_then.tolist()):
                unknown_as = Finding.LATE
                if unbuilt[row]:
                    unknown_as = Finding.MISSED_BUILD if overdue[row] else Finding.NOT_BUILT_YET
                finding = Finding.NO_ROW_ONLINE if was_known else unknown_as
                found.findings[WHOLE_ROW, finding] += 1
                if found.wants_example(finding):
                    found.examples.append(_example(of_them, row, WHOLE_ROW, finding))
        return appeared

    def _count_moved(
        self, rows: LoggedRows, offline: ResolvedFeatures, again: NDArray[np.intp], found: AuditResult
    ) -> None:
        """Score the offline vectors of the rows that differ; those of all others are what was scored already."""
        scored = np.isfinite(rows.probability)
        found.scored_twice += int(scored.sum())
        if not len(again):
            return
        vectors = offline.take(again)
        made = outcomes(vectors, self._model.score(vectors.matrix), self._model.contract.threshold.value)
        was_scored, decision = scored[again], rows.decision[again]
        both = was_scored & made.scored
        found.scored_twice -= int((was_scored & ~made.scored).sum())
        change = np.abs(made.probabilities - rows.probability[again])[both]
        found.probability_sum += float(change.sum())
        found.probability_max = max(found.probability_max, float(change.max(initial=0.0)))
        found.moved_decisions += int(((was_scored != made.scored) | (both & (made.decisions != decision))).sum())

    def _count_not_reproduced(self, rows: LoggedRows, found: AuditResult) -> None:
        scored = np.flatnonzero(np.isfinite(rows.probability))
        if len(scored):
            again = self._model.score(rows.inputs[scored]).astype(np.float64)
            found.not_reproduced += int((np.abs(again - rows.probability[scored]) > REPRODUCED_WITHIN).sum())

    def _note_examples(
        self, rows: LoggedRows, codes: NDArray[np.uint8], served: Served, valid: Replayed, found: AuditResult
    ) -> None:
        for number in np.unique(codes[codes > code(Finding.OVERRIDE)]).tolist():
            finding = FINDINGS[number - 1]
            for row, column in np.argwhere(codes == number)[:3].tolist():
                if found.wants_example(finding):
                    values = {
                        "served": float(served.values[row, column]),
                        "offline": None if valid.missing[row, column] else float(valid.values[row, column]),
                        "served_event_time": _time(served.event_us[row, column]),
                        "offline_event_time": _time(valid.event_us[row, column]),
                        "lag_seconds": _seconds(valid.event_us[row, column] - served.event_us[row, column])
                        if finding is Finding.LAG
                        else None,
                    }
                    name = self._model.contract.feature_names[column]
                    found.examples.append({**_example(rows, row, name, finding), **values})


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


def _example(rows: LoggedRows, row: int, feature: str, finding: Finding) -> dict[str, Any]:
    logged = rows.table.slice(row, 1).select(["request_id", "row", "customer_id", "as_of", "model_tag"])
    return {**logged.to_pylist()[0], "feature": feature, "class": finding.kind, "evidence": finding.evidence}


def _time(unix_us: float) -> Any:
    return None if np.isnan(unix_us) else pa.scalar(int(unix_us), TIMESTAMP).as_py()


def _seconds(micros: float) -> float:
    return float(micros) / 1e6
