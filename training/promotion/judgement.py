"""Judges a candidate: both it and the champion score, as served, test rows that neither was fitted on."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

from contract import BinaryTask
from scoring.errors import ModelError
from scoring.evaluation import Scored
from scoring.models.other_inputs import by_inputs_of, seen_by
from scoring.models.task_models import Scorer
from scoring.task_outputs import task_outputs
from training.bento_import import Servable, prepare
from training.errors import TrainingError
from training.gate.comparison import TIMED_ROWS, ChampionComparison, ScoredVersion, compare, segments_of, time_calls
from training.gate.rules import PASSED, objections_to_replacing, recorded_verdict
from training.row_splits.split_rows import HELD_OUT
from training.settings import TrainingSettings
from training.target import refuse_other_label, with_settings
from training.tracking import registry
from training.tracking.registry import CHAMPION
from training.tracking.test_rows import JudgedRows
from training.use_case import UseCase
from training.use_case_folder import current_use_case

_TIMED_CALLS = 200
AGAINST_CHAMPION = "gate_against_champion"
"""Tag of a version: the champion it was last compared with, and the gate's verdict."""


@dataclass(frozen=True)
class Judgement:
    """The gate's verdict on a candidate.

    champion: version that it was compared with; None without a champion.
    objections: why it may not be promoted; empty if it passed.
    evidence: for the ledger.
    """

    champion: str | None
    comparison: ChampionComparison | None
    objections: list[str]
    evidence: dict[str, Any]

    def __str__(self) -> str:
        verdict = "refused: " + "; ".join(self.objections) if self.objections else PASSED
        against = f"against version {self.champion}: " if self.champion else ""
        return "\n".join([*([str(self.comparison)] if self.comparison else []), f"gate: {against}{verdict}"])


def judge(client: MlflowClient, settings: TrainingSettings, candidate: Servable) -> Judgement:
    """Apply the gate of docs/promotion.md to a version.

    The measurements become an artifact of the version's run, the verdict a tag of the version.
    """
    version = candidate.registered.version
    objections = []
    if (verdict := recorded_verdict(version)) != PASSED:
        objections.append(f"the gate on its own: {verdict}")
    number = registry.aliases_of(client, version.name).get(CHAMPION)
    comparison = None
    if number is not None:
        try:
            champion = prepare(client, registry.version_of(client, version.name, number))
            whose = f"the {CHAMPION}, version {number},"
            refuse_other_label(candidate.contract, f"version {version.version}", champion.contract, whose)
            case = with_settings(current_use_case(), settings)
            comparison = compare_versions(case, champion, candidate, settings)
            objections += objections_to_replacing(comparison, settings)
        except TrainingError as error:
            objections.append(f"it cannot be held against the {CHAMPION}, version {number}: {error}")
        said = "refused: " + "; ".join(objections) if objections else PASSED
        if comparison is not None and not objections:
            said += f", {comparison.headline.verdict}: {comparison.headline}"
        client.set_model_version_tag(
            version.name, version.version, AGAINST_CHAMPION, f"against version {number}: {said}"
        )
    evidence: dict[str, Any] = {"champion": number, "objections": objections}
    if comparison is not None:
        document = json.dumps(comparison.to_dict(), indent=2) + "\n"
        path = f"promotion/against-v{number}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.json"
        client.log_text(str(version.run_id), document, path)
        if headline := comparison.headline.paired:
            population, metric = case.judged_by
            evidence |= {
                f"{population}_{metric}": [headline.champion, headline.candidate],
                "difference": [headline.difference.value, headline.difference.low, headline.difference.high],
            }
        evidence |= {
            "rows": comparison.rows,
            "verdicts": {judged.what: str(judged.verdict) for judged in comparison.judged},
            "changed_decisions": comparison.changed_decisions,
            "comparison": f"runs:/{version.run_id}/{path}",
            "comparison_sha256": hashlib.sha256(document.encode()).hexdigest(),
        }
    return Judgement(number, comparison, objections, evidence)


def compare_versions(
    case: UseCase, champion: Servable, candidate: Servable, settings: TrainingSettings
) -> ChampionComparison:
    """Score the candidate's test rows with both models and compare the results.

    Raises:
        TrainingError: the use case has another task or headline population than the candidate; or there are no rows
            with both models' inputs that neither was fitted on.
    """
    rows = JudgedRows.of(candidate.registered.test_set)
    _refuse_other_use_case(case, candidate, rows)
    _refuse_fitted_after(champion, candidate, rows)
    servables = {"champion": champion, "candidate": candidate}
    seen = rows.inputs[candidate.contract.feature_names].to_numpy(dtype=np.float32)
    matrices = {"champion": _seen_by_champion(champion, candidate, seen), "candidate": np.ascontiguousarray(seen)}
    scorers = {role: _scorer(servable) for role, servable in servables.items()}

    def call(role: str) -> Callable[[int], object]:
        given = {n: np.ascontiguousarray(matrices[role][np.arange(n) % len(rows)]) for n in TIMED_ROWS}
        return lambda n: scorers[role](given[n])

    times = time_calls({role: call(role) for role in servables}, _TIMED_CALLS)
    scored = {
        role: ScoredVersion(
            scored=_answered(servable, scorers[role](matrices[role])),
            compiled_bytes=len(servable.served),
            microseconds=times[role],
        )
        for role, servable in servables.items()
    }
    return compare(
        case,
        rows.labels,
        rows.populations,
        scored["champion"],
        scored["candidate"],
        segments_of(rows.inputs, settings.segments, candidate.contract.inputs),
        settings,
    )


def _refuse_other_use_case(case: UseCase, candidate: Servable, rows: JudgedRows) -> None:
    task, population = candidate.contract.task, case.judged_by[0]
    if (task.kind, task.class_names) != (case.task.kind, case.task.class_names):
        raise TrainingError(f"its task is not that of the use case {case.name!r}; does USE_CASE name the right folder?")
    if population not in rows.populations:
        raise TrainingError(
            f"its test rows do not say who belongs to {population!r}, the headline's population; train again"
        )


def _answered(servable: Servable, scores: NDArray[np.float32]) -> Scored:
    """Scores as they are answered, and the decision threshold of a binary task."""
    task = servable.contract.task
    threshold = task.threshold.value if isinstance(task, BinaryTask) else None
    return Scored(task_outputs(servable.contract).of(scores.astype(np.float64))[0], threshold)


def _scorer(servable: Servable) -> Scorer:
    """The scorer that the service would use."""
    with tempfile.TemporaryDirectory() as folder:
        return servable.load(Path(folder)).score


def _seen_by_champion(champion: Servable, candidate: Servable, seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows by the champion's own vocabularies, defaults and policies."""
    try:
        return seen_by(champion.contract, by_inputs_of(champion.contract, candidate.contract.inputs, seen))
    except ModelError as error:
        raise TrainingError(f"the champion cannot score the test rows: {error}") from None


def _refuse_fitted_after(champion: Servable, candidate: Servable, rows: JudgedRows) -> None:
    lacking = [name for name in champion.contract.feature_names if name not in rows.inputs]
    if lacking:
        raise TrainingError(f"the test rows lack inputs that the champion takes: {', '.join(lacking)}")
    cutoff = rows.requested_at.min()
    held_out = candidate.contract.training_window.get(HELD_OUT)
    for servable in (champion, candidate):
        if said := fitted_after(servable.contract.training_window, cutoff, held_out):
            raise TrainingError(f"version {servable.registered.version.version} {said}: the rows are not untouched")


def fitted_after(training_window: Mapping[str, str], cutoff: datetime, held_out: str | None = None) -> str:
    """Say that a model trained in this window was fitted on labels from after a test cut-off; empty if it was not.

    Args:
        held_out: the entities that the test rows are of, where they and not times tell the splits apart.
    """
    if held_out is not None:
        own = training_window.get(HELD_OUT)
        return "" if own == held_out else f"kept {own or 'no entities'} aside, and the test rows are {held_out}"
    until = training_window.get("labels_until")
    if until is not None and pd.Timestamp(until) <= cutoff:
        return ""
    return f"was fitted on labels until {until or 'nobody knows when'}, after the test cut-off {cutoff:%Y-%m-%d}"
