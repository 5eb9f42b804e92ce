"""An inference log of real models of each task, over customers of whom it is known what came of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from artefacts.addresses import Artefacts
from contract import RawFeatures, Resolver
from contract.tasks import TaskKind
from jobs.inference_log.logged_scores import Populations
from jobs.times import unix_us
from scoring.inference_log import Answers, log_table
from scoring.models.imported_model import ImportedModel, load_model
from scoring.outcomes import outcomes
from scoring.task_outputs import task_outputs
from tests.models.fakes import DAYS_SINCE, ORDERS_30D, SPEND, contract_of, store_model, training_rows
from training.churn.candidates import logistic

ACTIVE_DAYS = 60
ACTIVE = Populations("active", DAYS_SINCE, ACTIVE_DAYS)
CLASSES = ("low", "middle", "high")
"""Of `contract_of("multiclass")`."""
MONDAY = datetime.fromisoformat("2024-03-04T00:00:00+00:00")  # of 2024-W10
WEEK = timedelta(days=7)


def small_model(
    folder: Path,
    version: str,
    role: str = "champion",
    metrics: dict[str, float] | None = None,
    rows: int = 200,
    kind: TaskKind = "binary",
) -> ImportedModel:
    """A model fitted on so many customers: few make it a bad one."""
    contract = contract_of(kind).model_copy(update={"model_version": version, "metrics": metrics or {}})
    pipelines: dict[TaskKind, Pipeline] = {
        "binary": logistic(seed=5),
        "multiclass": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        "regression": make_pipeline(StandardScaler(), Ridge()),
    }
    matrix, labels = labelled_rows(5, rows, kind)
    if kind == "multiclass":
        labels = np.array([CLASSES.index(name) for name in labels])
    stored = store_model(folder / version, contract, pipelines[kind].fit(matrix, labels))
    return load_model(f"small_churn:v{version}", stored.folder, stored.labels, stored.metadata, role)


def labelled_rows(seed: int, rows: int, kind: TaskKind) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Customers as in `tests.models.fakes.training_rows`, and a label that follows from their features and chance."""
    matrix, churned = training_rows(seed, rows)
    if kind == "binary":
        return matrix, churned
    noise = np.random.default_rng(seed + 1000).normal(0, 40, rows)
    spend = (matrix[SPEND] * (1 + matrix[ORDERS_30D]) - matrix[DAYS_SINCE]).to_numpy(np.float64) + noise
    if kind == "regression":
        return matrix, np.maximum(spend, 0.0)
    return matrix, np.array(CLASSES)[np.digitize(spend, [60.0, 200.0])]


@dataclass(frozen=True)
class Asked:
    """n customers who were asked about one by one, and what became of them."""

    request_ids: list[str]
    customer_ids: list[str]
    values: NDArray[np.float64]
    labels: NDArray[Any]
    at: datetime

    @classmethod
    def some(cls, count: int, at: datetime, seed: int, name: str = "r", kind: TaskKind = "binary") -> "Asked":
        """Customers and labels of `labelled_rows`."""
        matrix, labels = labelled_rows(seed, count, kind)
        numbers = [f"{name}{n}" for n in range(count)]
        return cls(numbers, [f"c{number}" for number in numbers], matrix.to_numpy(np.float64), labels, at)

    @property
    def active(self) -> NDArray[np.bool_]:
        """By `ACTIVE`; bool (n,)."""
        active: NDArray[np.bool_] = self.values[:, 0].astype(np.float32) <= ACTIVE_DAYS
        return active

    def again(self, hours: float) -> "Asked":
        """The same customers, so many hours later."""
        numbers = [f"{request}-{hours}" for request in self.request_ids]
        return replace(self, request_ids=numbers, at=self.at + timedelta(hours=hours))

    def some_of(self, first: int, end: int) -> "Asked":
        """Those of these positions."""
        chosen = slice(first, end)
        return replace(
            self,
            request_ids=self.request_ids[chosen],
            customer_ids=self.customer_ids[chosen],
            values=self.values[chosen],
            labels=self.labels[chosen],
        )

    def but_left_at_random(self) -> "Asked":
        """The same, of whom those who left have nothing in common."""
        return replace(self, labels=np.random.default_rng(1).permutation(self.labels))

    def scored_by(self, model: ImportedModel) -> NDArray[np.float64]:
        """What the model says, as it is answered; (n,), or (n, c) for classes."""
        return self.answers(model).outcomes.outputs[0]

    def answers(self, model: ImportedModel, answered: bool = True, unknown: Sequence[int] = ()) -> Answers:
        """To log; the customers of some rows may be unknown."""
        seconds = unix_us(self.at) / 1e6
        values, event_times = self.values.copy(), np.full((len(self.labels), 2), seconds - 100)
        values[list(unknown)], event_times[list(unknown)] = np.nan, np.nan
        resolved = Resolver.of(model.contract).resolve(RawFeatures(values, event_times), seconds)
        return Answers(
            request_ids=self.request_ids,
            rows=[0] * len(self.request_ids),
            keys=self.customer_ids,
            as_of_unix_us=unix_us(self.at),
            model=model,
            answered=np.full(len(self.request_ids), answered),
            resolved=resolved,
            outcomes=outcomes(resolved, model.score(resolved.matrix), task_outputs(model.contract)),
        )


@dataclass
class LabelledLog:
    """A folder with a log, and the labels of what is in it."""

    root: Path
    labelled: list[Asked] = field(default_factory=list)
    files: int = 0

    @property
    def artefacts(self) -> Artefacts:
        """With the log; all else below the folder, too."""
        return Artefacts.of({"INFERENCE_LOG_DIR": str(self.root / "log")}, self.root)

    def put(self, answers: Answers) -> Path:
        """One more file."""
        table = log_table(answers)
        file = self.root / "log" / f"date={table['as_of'][0].as_py().date()}" / f"{self.files:06d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        self.files += 1
        return file

    def put_canary(
        self, champion: ImportedModel, challenger: ImportedModel, asked: Asked, share: int, missed: int = 0
    ) -> None:
        """As the service logs a canary that answers the first `share` customers, but for the first `missed` of them."""
        its = asked.some_of(missed, share)
        if missed:
            self.put(asked.some_of(0, missed).answers(champion))
        self.put(its.answers(champion, answered=False))
        self.put(its.answers(challenger))
        self.put(asked.some_of(share, len(asked.request_ids)).answers(champion))

    def serve(self, model: ImportedModel, asked: Asked, unknown: Sequence[int] = ()) -> None:
        """Answer, and note what became of the customers."""
        self.put(asked.answers(model, unknown=unknown))
        self.labelled.append(asked)

    def labels(self, name: str = "labels.parquet") -> Path:
        """Everything that was noted."""
        table = pa.table(
            {
                "request_id": [request for asked in self.labelled for request in asked.request_ids],
                "label": np.concatenate([asked.labels for asked in self.labelled]),
            }
        )
        file = self.root / name
        pq.write_table(table, file) if file.suffix == ".parquet" else pyarrow.csv.write_csv(table, file)
        return file
