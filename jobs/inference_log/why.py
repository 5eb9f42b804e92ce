"""Explains an answer: the logged row, its inputs, their contributions, and the model computed again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from artefacts.log_rows import REQUEST_INPUTS, keys_of, log_files
from artefacts.process.printable import printable
from artefacts.process.tables import table_lines
from contract import FeatureInput, ModelContract, MulticlassTask
from jobs.errors import ArgumentError, JobError
from jobs.inference_log.answer_words import answer_words
from jobs.inference_log.input_values import in_words, told
from jobs.inference_log.reading import explain_nothing_found, logged_outputs
from scoring.agreement import reproduced, same_answers
from scoring.errors import ModelError
from scoring.explanation import Explainer, Explanation
from scoring.inference_log import read_log
from scoring.models.imported_model import ImportedModel
from scoring.models.model_frame import CodedColumns
from scoring.models.model_store import open_model
from scoring.task_outputs import Outputs, task_outputs


class NotReproducedError(JobError):
    """The logged model computes another answer from the logged inputs."""

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
        NotReproducedError: the same inputs give another answer. Everything was described.
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


def _find(folder: Path, query: DecisionQuery) -> tuple[list[pa.Table], list[str]]:
    """The logged rows, the answering model's first, and one line for each file that cannot be read."""
    this = (pc.field("request_id") == query.request_id) & (pc.field("row") == query.row)
    found, damaged = [], []
    for file in log_files(folder, query.since, query.until):
        try:
            table = read_log(file, this)
            found += [table.slice(row, 1) for row in range(table.num_rows)]
        except ModelError as error:
            damaged.append(str(error))
    return sorted(found, key=lambda row: (not row["answered"][0].as_py(), row["as_of"][0].as_py())), damaged


def _describe(row: pa.Table) -> Iterator[str]:
    (logged,) = row.to_pylist()
    answered = "answered" if logged["answered"] else "did not answer"
    yield f"request     {logged['request_id']} row {logged['row']}, {logged['as_of'].isoformat()}"
    for key in keys_of(row.schema):
        yield f"{key.name.removesuffix('_id'):<11} {logged[key.name]}"
    yield f"model       {logged['model_name']} version {logged['model_version']}, {logged['role']}, {answered}"
    yield f"tag         {logged['model_tag']}"
    yield f"contract    {logged['contract_sha256']}"
    if logged.get(REQUEST_INPUTS) is not None:
        yield f"inputs      {logged[REQUEST_INPUTS]}"
    cached = "" if logged["cached_seconds"] is None else f", features read {logged['cached_seconds']:.1f} s before"
    yield f"status      {logged['status']}{cached}"
    if logged["inputs"] is None:
        yield "no features were stored for this key, so nothing was scored"
        return
    model = _opened(logged)
    contract = model.contract
    vector = np.array([logged["inputs"]], dtype=np.float32)
    if vector.shape[1] != len(contract.inputs):
        raise ModelError(f"{vector.shape[1]} inputs are logged, model {model.tag} takes {len(contract.inputs)}")
    task, words = task_outputs(contract), answer_words(contract)
    outputs, again = logged_outputs(row, contract), task.of(model.score(vector).astype(np.float64))
    scored = logged[contract.outputs[0].name] is not None
    if scored:
        yield from words.lines(outputs, again)
    yield ""
    yield from _inputs(logged, vector, contract, _explained(model, vector, outputs))
    if scored and not reproduced(outputs, again, contract)[0]:
        raise NotReproducedError(f"model {model.tag} {words.unlike(outputs, again)}")
    if scored and not same_answers(outputs, task.of(outputs[0]), contract)[0]:
        raise NotReproducedError(words.contradiction(outputs))


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


def _explained(model: ImportedModel, vector: NDArray[np.float32], logged: Outputs) -> Explanation | str:
    """The explanation, of several classes that of the logged one; or the reason why there is none."""
    contract = model.contract
    several = isinstance(contract.task, MulticlassTask) and logged[1][0] >= 0
    try:
        coded = CodedColumns.of(contract.inputs)
        explainer = Explainer.of(model.load_pipeline(), contract.feature_names, contract.task.kind, coded)
        return explainer.explain(vector, logged[1].tolist() if several else None)
    except ModelError as error:
        return str(error)


def _inputs(
    logged: dict[str, Any], vector: NDArray[np.float32], contract: ModelContract, explained: Explanation | str
) -> Iterator[str]:
    ttl = {view.name: view.ttl_seconds for view in contract.feature_schema.views}
    cells = [("input", "value", "contribution", "state", "used", "event time", "age", "policy")]
    for column, feature in enumerate(contract.inputs):
        at, age = logged["event_timestamps"][column], "–"
        if at is not None:
            age = str(timedelta(seconds=round((logged["as_of"] - at).total_seconds())))
        cells.append(
            (
                feature.name,
                in_words(float(vector[0, column]), feature),
                "–" if isinstance(explained, str) else f"{explained.contributions[0, column]:+.6f}",
                logged["states"][column],
                _used(feature, float(vector[0, column]), logged["defaulted"][column]),
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


def _used(feature: FeatureInput, value: float, defaulted: bool) -> str:
    if defaulted:
        return "default"
    return "null" if told(value, feature) is None else "value"


def _policy(feature: FeatureInput, ttl: dict[str, float | None]) -> str:
    """The contract's policy for a value that is stale, missing or unseen."""
    shortest = min((seconds for source in feature.sources if (seconds := ttl[source]) is not None), default=None)
    stale = "never stale" if shortest is None else f"stale after {timedelta(seconds=shortest)}: {feature.on_stale}"
    default = feature.default if isinstance(feature.default, str | None) else f"{feature.default:.6g}"
    stands_in = "" if default is None else f" ({default} from {feature.default_from})"
    unseen = "" if feature.codes is None else f"; unseen: {feature.on_unseen}"
    return f"{stale}; missing: {feature.on_missing}{stands_in}{unseen}"
