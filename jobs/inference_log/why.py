"""Explains an answer: the logged row, its inputs, their contributions, and the model computed again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from artefacts.log_rows import log_files
from artefacts.process.printable import printable
from artefacts.process.tables import table_lines
from contract import FeatureInput, ModelContract
from jobs.errors import ArgumentError, JobError
from jobs.inference_log.reading import explain_nothing_found
from scoring.errors import ModelError
from scoring.explanation import Explainer, Explanation
from scoring.inference_log import read_log
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model

TOLERANCE = 1e-6
"""Allowed difference between the logged and the recomputed probability. The model computes in float32."""


class NotReproducedError(JobError):
    """The logged model computes another probability or decision from the logged inputs."""

    exit_code = 3


@dataclass(frozen=True)
class DecisionQuery:
    """A row of a logged request.

    since, until: the request came in [since, until), UTC; they narrow down which files are read.

    Raises:
        ArgumentError: the request id is empty, or the row is negative.
    """

    request_id: str
    row: int = 0
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if not self.request_id:
            raise ArgumentError("--request is empty: make why REQUEST=<request_id of an answer>")
        if self.row < 0:
            raise ArgumentError(f"--row {self.row}: rows of a batch are numbered from 0")


def why(folder: Path, query: DecisionQuery) -> Iterator[str]:
    """Describe a decision, line by line.

    Raises:
        JobError: the log has no such row.
        ModelError: a model is not in the BentoML model store, or is not what it was. All other models were described.
        NotReproducedError: the same inputs give another probability or decision. Everything was described.
    """
    found, damaged = _find(folder, query)
    yield from (f"warning: {what}" for what in damaged)
    if not found:
        unread = f"; {len(damaged)} damaged files could not be searched" if damaged else ""
        nothing = f"no row {query.row} of request {query.request_id!r} in the inference log{unread}"
        raise JobError(explain_nothing_found(folder, nothing))
    errors: list[Exception] = []
    for logged in found:
        try:
            yield from map(printable, _describe(logged))
        except (ModelError, NotReproducedError) as error:
            errors.append(error)
        yield ""
    if errors:
        raise errors[0]


def _find(folder: Path, query: DecisionQuery) -> tuple[list[dict[str, Any]], list[str]]:
    """The logged rows, the answering model's first, and one line for each file that cannot be read."""
    this = (pc.field("request_id") == query.request_id) & (pc.field("row") == query.row)
    found, damaged = [], []
    for file in log_files(folder, query.since, query.until):
        try:
            found += read_log(file, this).to_pylist()
        except ModelError as error:
            damaged.append(str(error))
    return sorted(found, key=lambda logged: (not logged["answered"], logged["as_of"])), damaged


def _describe(logged: dict[str, Any]) -> Iterator[str]:
    answered = "answered" if logged["answered"] else "did not answer"
    yield f"request     {logged['request_id']} row {logged['row']}, {logged['as_of'].isoformat()}"
    yield f"customer    {logged['customer_id']}"
    yield f"model       {logged['model_name']} version {logged['model_version']}, {logged['role']}, {answered}"
    yield f"tag         {logged['model_tag']}"
    yield f"contract    {logged['contract_sha256']}"
    cached = "" if logged["cached_seconds"] is None else f", features read {logged['cached_seconds']:.1f} s before"
    yield f"status      {logged['status']}{cached}"
    if logged["inputs"] is None:
        yield "no features were stored for this customer, so nothing was scored"
        return
    model = _opened(logged)
    contract = model.contract
    vector = np.array([logged["inputs"]], dtype=np.float32)
    if vector.shape[1] != len(contract.inputs):
        raise ModelError(f"{vector.shape[1]} inputs are logged, model {model.tag} takes {len(contract.inputs)}")
    again = float(model.score(vector)[0])
    probability, threshold = logged["churn_probability"], contract.binary.threshold.value
    if probability is not None:
        decision = "churn" if logged["churn"] else "no churn"
        yield f"probability {probability!r}: {decision}, which it is from {threshold!r} on"
        yield f"recomputed  {again!r}, differs by {abs(again - probability):.1e}"
    yield ""
    yield from _inputs(logged, contract, _explained(model, vector))
    if probability is not None:
        _check(logged, again, threshold)


def _opened(logged: dict[str, Any]) -> ImportedModel:
    try:
        model = open_model(logged["model_tag"], logged["role"])
    except ModelError as error:
        raise ModelError(f"the decision cannot be recomputed: {error}") from None
    if model.contract_sha256 != logged["contract_sha256"]:
        raise ModelError(
            f"the decision cannot be recomputed: model {model.tag} has contract {model.contract_sha256}, "
            f"logged was {logged['contract_sha256']}"
        )
    return model


def _explained(model: ImportedModel, vector: NDArray[np.float32]) -> Explanation | str:
    """The explanation, or the reason why there is none."""
    try:
        return Explainer.of(model.load_pipeline(), model.contract.feature_names).explain(vector)
    except ModelError as error:
        return str(error)


def _inputs(logged: dict[str, Any], contract: ModelContract, explained: Explanation | str) -> Iterator[str]:
    ttl = {view.name: view.ttl_seconds for view in contract.feature_schema.views}
    cells = [("input", "value", "contribution", "state", "used", "event time", "age", "policy")]
    for column, feature in enumerate(contract.inputs):
        at, age = logged["event_timestamps"][column], "–"
        if at is not None:
            age = str(timedelta(seconds=round((logged["as_of"] - at).total_seconds())))
        cells.append(
            (
                feature.name,
                f"{logged['inputs'][column]:.9g}",
                "–" if isinstance(explained, str) else f"{explained.contributions[0, column]:+.6f}",
                logged["states"][column],
                "default" if logged["defaulted"][column] else "value",
                "–" if at is None else at.isoformat(),
                age,
                _policy(feature, ttl),
            )
        )
    yield from table_lines(cells)
    yield ""
    if isinstance(explained, str):
        yield f"no explanation: {explained}"
    else:
        score = explained.base_value + float(explained.contributions.sum())
        base = f"{explained.base_value:+.6f}, where every row starts, and the contributions"
        yield f"{explained.space} {score:+.6f}: {base}"


def _policy(feature: FeatureInput, ttl: dict[str, float | None]) -> str:
    """The contract's policy for a stale or missing value."""
    shortest = min((seconds for source in feature.sources if (seconds := ttl[source]) is not None), default=None)
    stale = "never stale" if shortest is None else f"stale after {timedelta(seconds=shortest)}: {feature.on_stale}"
    return f"{stale}; missing: {feature.on_missing} ({feature.default:g} from {feature.default_from})"


def _check(logged: dict[str, Any], again: float, threshold: float) -> None:
    """Raise NotReproducedError if the logged probability or decision is not the model's."""
    probability = logged["churn_probability"]
    if not abs(again - probability) <= TOLERANCE:
        raise NotReproducedError(
            f"model {logged['model_tag']} makes {again!r} of these inputs, {probability!r} was answered"
        )
    if logged["churn"] != (probability >= threshold):
        raise NotReproducedError(
            f"the logged decision contradicts probability {probability!r} at threshold {threshold!r}"
        )
