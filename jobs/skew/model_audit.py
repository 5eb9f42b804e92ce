"""Audits one model's logged decisions against the offline store, and counts what differs."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contract import ResolvedFeatures
from jobs.inference_log.reading import LoggedRows
from jobs.skew.audit_result import WHOLE_ROW, AuditResult
from jobs.skew.classify import classify, differing
from jobs.skew.evidence import Bools, Evidence, Served
from jobs.skew.examples import add_examples, example_of
from jobs.skew.findings import AGREES, FINDINGS, Finding, code
from jobs.skew.past_rows import RowChoice
from jobs.skew.replay import OfflineReplay
from jobs.skew.view_evidence import mistimed_views, served_of, unbuilt_views, zeroed_views
from scoring.agreement import reproduced, same_answers
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import outcomes
from scoring.task_outputs import task_outputs


class ModelAudit:
    """Compares a model's logged rows with the offline store.

    Args:
        build_max_age_seconds: a build in place at a decision that is older means that one was missed.
    """

    def __init__(self, model: ImportedModel, replay: OfflineReplay, build_max_age_seconds: float) -> None:
        self.replay = replay
        self.contract = model.contract
        self._model = model
        self._task = task_outputs(model.contract)
        self._build_max_age_us = build_max_age_seconds * 1e6

    def under_its_contract(self, table: pa.Table, result: AuditResult) -> pa.Table:
        """Drop and count rows that were scored under another contract than the one stored with the model."""
        own = pc.equal(table["contract_sha256"], self._model.contract_sha256)
        if foreign := table.num_rows - (pc.sum(own).as_py() or 0):
            result.problems.append(f"{foreign:,} rows of model {self._model.tag} were scored under another contract")
        return table.filter(own)

    def audit(self, rows: LoggedRows, result: AuditResult) -> None:
        """Replay n rows and add what differs to the result."""
        names = self.contract.feature_names
        result.rows += len(rows)
        result.values += int(rows.known.sum()) * len(names)
        result.comparisons.update(dict.fromkeys(names, int(rows.known.sum())))
        result.comparisons[WHOLE_ROW] += int((~rows.known).sum())
        result.models[self._model.tag] += len(rows)
        result.registered.add(self._model.contract.model_name)
        result.statuses.update(rows.table["status"].to_pylist())
        valid = self.replay.replay(RowChoice.VALID, rows)
        served = served_of(rows)
        differs = differing(served, valid.vectors) & rows.known[:, None]
        served_us = self.replay.served_us(rows)
        other_row = np.isfinite(served_us) & np.not_equal(served_us, valid.event_us)
        result.defaulted_alike += int((rows.defaulted & valid.resolved.defaulted & ~differs).sum())
        codes = np.where(served.overridden, np.uint8(code(Finding.OVERRIDE)), np.uint8(AGREES))
        looked_at = np.flatnonzero(np.concatenate([differs, other_row], axis=1).any(axis=1))
        if len(looked_at):
            codes[looked_at] = self._classified(rows.take(looked_at), served.take(looked_at))
        different = np.flatnonzero((codes > code(Finding.OVERRIDE)).any(axis=1))
        for column, name in enumerate(names):
            for number, count in enumerate(np.bincount(codes[:, column], minlength=len(FINDINGS) + 1).tolist()):
                if number != AGREES and count:
                    result.findings[name, FINDINGS[number - 1]] += count
        lag = codes == code(Finding.LAG)
        seconds = np.where(lag, (valid.vectors.event_us - served.event_us) / 1e6, 0.0)
        result.largest_lag_seconds = max(result.largest_lag_seconds, float(seconds.max(initial=0.0)))
        _count_by_day(rows, codes, result)
        add_examples(result, rows, self.contract.inputs, codes, served, valid.vectors)
        appeared = self._count_unknown(rows, valid.resolved.known, result)
        result.differing_rows += len(different) + len(appeared)
        dropped = (codes == code(Finding.NO_LONGER_STORED)).any(axis=1)
        result.unreplayable_rows += int(dropped.sum())
        again = np.union1d(different, appeared).astype(np.intp)
        self._count_moved(rows, valid.resolved, again[~dropped[again]], result)
        result.compared_rows += int((~dropped).sum())
        self._count_not_reproduced(rows, result)

    def _classified(self, rows: LoggedRows, served: Served) -> NDArray[np.uint8]:
        valid, known, of_served, first = (self.replay.replay(which, rows) for which in RowChoice)
        served_us = self.replay.served_us(rows)
        held, in_place_us = self.replay.held(served_us), self.replay.in_place_us(rows)
        mistimed, future = mistimed_views(served, served_us, held, (valid, known), of_served, self.replay.own_columns)
        overdue = served.as_of_us[:, None] - in_place_us > self._build_max_age_us
        zeroed = zeroed_views(
            self.replay.plan,
            of_served.rows,
            differing(served, valid.vectors),
            lambda past: self.replay.resolve(past, rows).matrix,
        )
        return classify(
            Evidence(
                served=served,
                valid=valid.vectors,
                known=known.vectors,
                served_rows=(of_served.vectors, first.vectors),
                dropped=self.replay.any_view(~held),
                computed_from=self.replay.computed_from,
                mistimed=self.replay.any_view(mistimed),
                future=self.replay.any_view(future),
                unbuilt=self.replay.any_view(unbuilt_views(valid, served.as_of_us, in_place_us)),
                overdue=self.replay.any_view(overdue),
                zeroed=tuple(zeroed),
                vocabularies={c: of.vocabulary for c, of in enumerate(self.contract.inputs) if of.vocabulary},
                ages=tuple(c for c, of in enumerate(self.contract.inputs) if of.kind == "age"),
            )
        )

    def _count_unknown(self, rows: LoggedRows, known_offline: Bools, result: AuditResult) -> NDArray[np.intp]:
        """Count entities that were unknown online and have rows offline; return their positions."""
        appeared = np.flatnonzero(~rows.known & known_offline)
        if len(appeared):
            of_them = rows.take(appeared)
            known_then = self.replay.replay(RowChoice.KNOWN, of_them).resolved.known
            as_of_us, days = of_them.as_of_us.astype(np.float64), _days(of_them).tolist()
            in_place_us = self.replay.in_place_us(of_them)
            # A missing build explains it only if no view's row could have been built before.
            valid = self.replay.replay(RowChoice.VALID, of_them)
            no_row = np.isnan(valid.event_us)
            unbuilt = np.logical_and.reduce(unbuilt_views(valid, as_of_us, in_place_us) | no_row, axis=1)
            overdue = np.logical_or.reduce(as_of_us[:, None] - in_place_us > self._build_max_age_us, axis=1)
            for row, was_known in enumerate(known_then.tolist()):
                unknown_as = Finding.LATE
                if unbuilt[row]:
                    unknown_as = Finding.MISSED_BUILD if overdue[row] else Finding.NOT_BUILT_YET
                finding = Finding.NO_ROW_ONLINE if was_known else unknown_as
                result.findings[WHOLE_ROW, finding] += 1
                result.daily_findings[days[row], finding.kind] += 1
                if result.wants_example(finding):
                    result.examples.append(example_of(of_them, row, WHOLE_ROW, finding))
        return appeared

    def _count_moved(
        self, rows: LoggedRows, offline: ResolvedFeatures, again: NDArray[np.intp], result: AuditResult
    ) -> None:
        """Score the offline vectors of the rows that differ. Those of all other rows were scored already."""
        result.scored_twice += int(rows.scored.sum())
        if not len(again):
            return
        vectors = offline.take(again)
        made = outcomes(vectors, self._model.score(vectors.matrix), self._task)
        logged = rows.take(again)
        both = logged.scored & made.scored
        result.scored_twice -= int((logged.scored & ~made.scored).sum())
        change = np.abs(made.outputs[0] - logged.outputs[0])[both]
        largest = change if change.ndim == 1 else change.max(axis=1, initial=0.0)
        result.change_sum += float(largest.sum())
        result.change_max = max(result.change_max, float(largest.max(initial=0.0)))
        others = both & ~same_answers(logged.outputs, made.outputs, self.contract)
        result.moved_answers += int(((logged.scored != made.scored) | others).sum())

    def _count_not_reproduced(self, rows: LoggedRows, result: AuditResult) -> None:
        scored = rows.take(np.flatnonzero(rows.scored))
        if len(scored):
            again = self._task.of(self._model.score(scored.inputs).astype(np.float64))
            result.not_reproduced += int((~reproduced(scored.outputs, again, self.contract)).sum())


def _count_by_day(rows: LoggedRows, codes: NDArray[np.uint8], result: AuditResult) -> None:
    """Count comparisons and findings of n rows by the day of the decision.

    Args:
        codes: uint8 (n, k).
    """
    days = _days(rows)
    for day in np.unique(days).tolist():
        of_day = days == day
        known = int((rows.known & of_day).sum())
        result.daily_comparisons[day] += known * codes.shape[1] + int(of_day.sum()) - known
        for number, count in enumerate(np.bincount(codes[of_day].ravel(), minlength=len(FINDINGS) + 1).tolist()):
            if number != AGREES and count:
                result.daily_findings[day, FINDINGS[number - 1].kind] += count


def _days(rows: LoggedRows) -> NDArray[np.str_]:
    """Day of each decision, UTC, as `2026-01-31`."""
    return rows.as_of_us.astype("datetime64[us]").astype("datetime64[D]").astype(str)
