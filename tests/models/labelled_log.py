"""An inference log of real models over customers of whom it is known who left."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
from contract import RawFeatures, Resolver
from jobs.inference_log.logged_scores import Populations
from jobs.times import unix_us
from scoring.inference_log import Answers, log_table
from scoring.models.imported_model import ImportedModel, load_model
from scoring.outcomes import outcomes
from scoring.task_outputs import task_outputs
from tests.models.fakes import DAYS_SINCE, small_contract, store_model, training_rows
from training.churn.candidates import logistic

ACTIVE_DAYS = 60
ACTIVE = Populations("active", DAYS_SINCE, ACTIVE_DAYS)
MONDAY = datetime.fromisoformat("2024-03-04T00:00:00+00:00")  # of 2024-W10
WEEK = timedelta(days=7)


def small_model(
    folder: Path, version: str, role: str = "champion", metrics: dict[str, float] | None = None, rows: int = 200
) -> ImportedModel:
    """A model fitted on so many customers: few make it a bad one."""
    contract = small_contract().model_copy(update={"model_version": version, "metrics": metrics or {}})
    stored = store_model(folder / version, contract, logistic(seed=5).fit(*training_rows(seed=5, rows=rows)))
    return load_model(f"small_churn:v{version}", stored.folder, stored.labels, stored.metadata, role)


@dataclass(frozen=True)
class Asked:
    """n customers who were asked about one by one, and what became of them."""

    request_ids: list[str]
    customer_ids: list[str]
    values: NDArray[np.float64]
    churned: NDArray[np.bool_]
    at: datetime

    @classmethod
    def some(cls, count: int, at: datetime, seed: int, name: str = "r") -> "Asked":
        """Customers whose churn follows from their features, as in `tests.models.fakes.training_rows`."""
        matrix, churned = training_rows(seed, count)
        numbers = [f"{name}{n}" for n in range(count)]
        return cls(numbers, [f"c{number}" for number in numbers], matrix.to_numpy(np.float64), churned, at)

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
            churned=self.churned[chosen],
        )

    def but_left_at_random(self) -> "Asked":
        """The same, of whom those who left have nothing in common."""
        return replace(self, churned=np.random.default_rng(1).permutation(self.churned))

    def scored_by(self, model: ImportedModel) -> NDArray[np.float64]:
        """What the model says, as it is answered; (n,)."""
        return self.answers(model).outcomes.outputs[0]

    def answers(self, model: ImportedModel, answered: bool = True, unknown: Sequence[int] = ()) -> Answers:
        """To log; the customers of some rows may be unknown."""
        seconds = unix_us(self.at) / 1e6
        values, event_times = self.values.copy(), np.full((len(self.churned), 2), seconds - 100)
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
                "label": np.concatenate([asked.churned for asked in self.labelled]),
            }
        )
        file = self.root / name
        pq.write_table(table, file) if file.suffix == ".parquet" else pyarrow.csv.write_csv(table, file)
        return file
