"""Turns scored rows into the answers for their entities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from contract import FeatureIssue, Key, KeyValue, ModelContract, RawFeatures, key_values
from contract.keys import EXACT_IN_JSON
from scoring.outcomes import OK, REFUSED, UNKNOWN, statuses_of
from scoring.task_outputs import TaskOutputs, task_outputs
from service.prediction.batch import Batch, Scored
from service.telemetry.metrics import ServiceMetrics


class Prediction(NamedTuple):
    """The answer for one entity.

    outputs: values of the contract's outputs, in its order; None unless the status is `ok` or `degraded`.
    status: see `scoring.outcomes.statuses_of`. `refused` if the contract forbids scoring, or the model has no finite
        score for such values.
    feature_issues: every feature that was not simply fresh; empty for an unknown entity.
    cached_seconds: how long ago the features were read, if the online store could not be; else None.
    model: identity of the model that answered; None: the champion.
    """

    key: Key
    outputs: tuple[Any, ...]
    status: str
    feature_issues: Sequence[FeatureIssue] = ()
    cached_seconds: float | None = None
    model: dict[str, str] | None = None

    def row(self, members: Sequence[str]) -> dict[str, Any]:
        """Return the row of the response; it names the model only if that is not the champion.

        Args:
            members: `row_members` of the contract.
        """
        key, outputs, status, issues, cached_seconds, model = self
        if isinstance(key, str):  # `strict` costs a third
            row = dict(zip(members, (key, *outputs, status, issues, cached_seconds)))  # noqa: B905
        else:
            row = dict(zip(members, (*key_in_json(key), *outputs, status, issues, cached_seconds), strict=True))
        if model is not None:
            row["model"] = model
        return row


def row_members(contract: ModelContract) -> tuple[str, ...]:
    """Names of the members of a response's row, in its order."""
    outputs = (output.name for output in contract.outputs)
    keys = (key.join_key for key in contract.feature_schema.entity_keys)
    return *keys, *outputs, "status", "feature_issues", "cached_seconds"


def key_in_json(key: Key) -> tuple[KeyValue, ...]:
    """A key's values as every JSON reader has them."""
    return tuple(
        value if isinstance(value, str) or abs(value) <= EXACT_IN_JSON else str(value) for value in key_values(key)
    )


@dataclass(frozen=True)
class AnswerRules:
    """What one model's answers are made by.

    statuses: names of the statuses of `scoring.outcomes`, by number.
    no_outputs: the outputs of a row without a score.
    """

    task: TaskOutputs
    statuses: Sequence[str]
    no_outputs: tuple[None, ...]

    @classmethod
    def of(cls, contract: ModelContract) -> Self:
        """The rules of a contract."""
        return cls(task_outputs(contract), statuses_of(contract), (None,) * len(contract.outputs))


def predictions(
    batch: Batch,
    part: RawFeatures,
    scored: Scored,
    rules: AnswerRules,
    metrics: ServiceMetrics,
    model: dict[str, str] | None = None,
) -> list[Prediction]:
    """Make and count the answers for n entities.

    Args:
        part: what the model takes of what was read.
        rules: of the model that scored them.
        model: its identity; None: the champion.
    """
    made = scored.outcomes
    usual = made.statuses == OK
    if scored.resolved.kept is not None:  # kept nulls are issues, although they do not degrade an answer
        usual &= ~scored.resolved.kept.any(axis=1)
    metrics.rows_ok(int(np.count_nonzero(usual)))
    return [
        Prediction(key, outputs, "ok", (), None, model)  # by position: keywords cost a third of it
        if is_usual
        else _unusual(row, key, outputs, part, scored, rules, metrics, model)
        for row, (key, outputs, is_usual) in enumerate(
            zip(batch.keys, rules.task.values(made.outputs), usual.tolist(), strict=True)
        )
    ]


def _unusual(
    row: int,
    key: Key,
    outputs: tuple[Any, ...],
    part: RawFeatures,
    scored: Scored,
    rules: AnswerRules,
    metrics: ServiceMetrics,
    model: dict[str, str] | None,
) -> Prediction:
    if part.unread is not None and part.unread[row].any():
        return Prediction(key, rules.no_outputs, rules.statuses[UNKNOWN])  # the request gets an error instead
    number = scored.outcomes.statuses[row]
    status = rules.statuses[number]
    cached_seconds = None if part.cached_seconds is None else float(part.cached_seconds[row])
    metrics.row(status)
    if number == UNKNOWN:
        return Prediction(key, rules.no_outputs, status, (), cached_seconds, model)
    issues = scored.resolved.issues(row)
    metrics.issues(issues)
    if number == REFUSED:
        outputs = rules.no_outputs
    return Prediction(key, outputs, status, issues, cached_seconds, model)
