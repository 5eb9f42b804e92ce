"""Simulates how often `make drift` raises false alarms, and how often it finds planted changes."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from artefacts.addresses import Artefacts
from benchmarks.machine import provenance
from benchmarks.markdown import NOT_MEASURED, prose, table
from benchmarks.results import store
from contract import RawFeatures
from contract.values.histogram import Histogram
from jobs.drift.statistics import Thresholds, compare_columns, drift
from jobs.settings import JobsSettings
from scoring.models.model_store import open_model, pinned_tag
from training.data.dataset import TrainingData
from training.model_inputs import resolve_inputs
from training.row_splits.time_splits import cutoffs_of, parts_at
from training.settings import TrainingSettings
from training.target import follow_contract
from training.use_case_folder import current_use_case

SCORE = "churn_probability"
SIZES = (500, 2000, 5000)
RESAMPLES = 500
PLANTED_RESAMPLES = 200
_SEED = 29
_THRESHOLDS = Thresholds(JobsSettings().drift_alpha, JobsSettings().drift_min_psi)

Values = NDArray[np.float64]


@dataclass(frozen=True)
class PlantedChange:
    """A change of one input.

    change: (values, their standard deviation, a generator) → the changed values.
    """

    name: str
    change: Callable[[Values, float, np.random.Generator], Values]


def _missing(share: float) -> Callable[[Values, float, np.random.Generator], Values]:
    return lambda values, _, random: np.where(random.random(len(values)) < share, np.nan, values)


PLANTED = (
    *(
        PlantedChange(f"shifted by {size:g} standard deviations", lambda values, sd, _, size=size: values + size * sd)  # type: ignore[misc]
        for size in (0.1, 0.25, 0.5)
    ),
    *(
        PlantedChange(f"in another unit, × {factor:g}", lambda values, _sd, _, factor=factor: values * factor)  # type: ignore[misc]
        for factor in (1.1, 1.5, 100.0)
    ),
    *(PlantedChange(f"missing in {share:.0%} of the rows", _missing(share)) for share in (0.02, 0.05, 0.1)),
    PlantedChange("constant at its median", lambda values, _sd, _: np.full(len(values), np.nanmedian(values))),
)


@dataclass(frozen=True)
class _Population:
    """Training rows in two halves that share no customer.

    trained: column → histogram of the first half.
    live: rows of the second half; a customer may have several.
    customers: the customer of each live row.
    """

    trained: dict[str, Histogram]
    live: pd.DataFrame
    customers: NDArray[np.str_]

    def draw(self, size: int, random: np.random.Generator) -> pd.DataFrame:
        """One row each of `size` random customers."""
        order = random.permutation(len(self.live))
        _, first = np.unique(self.customers[order], return_index=True)
        chosen: pd.DataFrame = self.live.iloc[order[random.permutation(first)[:size]]]
        return chosen


def run(output: Path) -> None:
    """Simulate on the rows that the imported model would be trained on now, and write the results."""
    started = time.monotonic()
    population = _population(Artefacts.of(os.environ), TrainingSettings())
    random = np.random.default_rng(_SEED)
    false_alarms = [_false_alarms(population, size, random) for size in SIZES]
    power = [
        {"planted": planted.name, "found": [_power(population, planted, size, random) for size in SIZES]}
        for planted in PLANTED
    ]
    about = {**provenance(), "took_seconds": round(time.monotonic() - started)}
    figures: dict[str, Any] = {
        "sizes": list(SIZES),
        "columns": len(population.trained),
        "alpha": _THRESHOLDS.alpha,
        "min_psi": _THRESHOLDS.min_psi,
        "resamples": RESAMPLES,
        "planted_resamples": PLANTED_RESAMPLES,
        "false_alarms": false_alarms,
        "power": power,
    }
    store(output, "drift", {**about, **figures})


def section(found: dict[str, Any] | None) -> str:
    """The tables of docs/monitoring.md."""
    if found is None:
        return NOT_MEASURED
    columns = ("", *(f"{size:,} customers" for size in found["sizes"]))
    rows = [("nothing, any column (false alarms)", *(f"{share:.1%}" for share in found["false_alarms"]))]
    rows += [(planted["planted"], *(f"{share:.0%}" for share in planted["found"])) for planted in found["power"]]
    text = prose(
        f"`make drift-power`, {found['measured_at'][:10]}, commit `{found['git_commit']}`: share of reports that "
        f"say so, over {found['resamples']} resamples without a change and {found['planted_resamples']} with one, "
        f"in an input drawn at random; {found['columns']} columns, nominal rate of false alarms "
        f"{found['alpha']:.0%} of reports, index from {found['min_psi']:g} on."
    )
    return f"{text}\n{table(columns, rows, left=1)}".rstrip("\n")


def _population(artefacts: Artefacts, settings: TrainingSettings) -> _Population:
    model = open_model(pinned_tag(artefacts))
    contract = model.contract
    settings = follow_contract(settings, contract)
    data = TrainingData(artefacts, settings.feature_service)
    case = current_use_case()
    source = case.labels(os.environ)
    rows = data.rows(parts_at(source, cutoffs_of(source, settings).training, settings, settings.seed), case.task)
    values = rows.columns[contract.feature_names].astype(np.float64)
    matrix = resolve_inputs(contract.inputs, contract.feature_schema, RawFeatures(values.to_numpy(), None))
    live = values.assign(**{SCORE: model.score(matrix.to_numpy(dtype=np.float32)).astype(np.float64)})
    customers = rows.entities["customer_id"].to_numpy().astype(str)
    half = pd.util.hash_array(customers.astype(object)) % 2 == 0
    return _Population(
        trained={str(name): Histogram.of(live[name].to_numpy()[half]) for name in live},
        live=live[~half],
        customers=customers[~half],
    )


def _false_alarms(population: _Population, size: int, random: np.random.Generator) -> float:
    alarms = 0
    for _ in range(RESAMPLES):
        found = compare_columns(population.draw(size, random), population.trained, _THRESHOLDS)
        alarms += any(column.drifted for column in found)
    return alarms / RESAMPLES


def _power(population: _Population, planted: PlantedChange, size: int, random: np.random.Generator) -> float:
    inputs: Sequence[str] = [name for name in population.trained if name != SCORE]
    level = _THRESHOLDS.alpha / len(population.trained)
    found = 0
    for _ in range(PLANTED_RESAMPLES):
        name = str(random.choice(inputs))
        values = population.draw(size, random)[name].to_numpy()
        changed = planted.change(values, float(np.nanstd(values)), random)
        found += drift(name, population.trained[name], changed, level, _THRESHOLDS.min_psi).drifted
    return found / PLANTED_RESAMPLES
