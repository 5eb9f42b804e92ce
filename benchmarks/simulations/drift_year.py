"""Simulates a year of a steady shop: false alarms of monthly `make drift` reports, and planted changes they find.

Orders are synthetic: customers arrive, buy and leave at constant rates. Everything else is real: the feature code,
training's rows and contract, the point-in-time join, the log's files and the job.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.addresses import Artefacts
from benchmarks.machine import provenance
from benchmarks.markdown import NOT_MEASURED, prose, table
from benchmarks.results import store
from contract import BinaryTask, DecisionThreshold, Headline, ModelContract, RawFeatures, Resolver, outputs_of
from contract.inputs import COUNTED_AT
from contract.values.histogram import Histogram
from jobs.drift.watch import DriftError, DriftWatch, watch_drift
from jobs.feature_store import apply
from jobs.features.build import build_features
from jobs.settings import JobsSettings
from jobs.times import unix_us
from scoring.inference_log import Answers, log_table
from scoring.models.imported_model import ImportedModel
from scoring.models.onnx_scorer import onnx_scorer
from scoring.outcomes import outcomes
from scoring.task_outputs import task_outputs
from training.churn.candidates import logistic
from training.churn.order_history import CHURNED
from training.churn.order_labels import OrderLabels
from training.churn.source.addresses import OrderAddresses
from training.churn.synthetic_orders import ShopParameters, write_synthetic
from training.churn.use_case import USE_CASE
from training.compilation.onnx_model import compile_to_onnx
from training.data.dataset import TrainingData
from training.model_inputs import describe_inputs, resolve_inputs
from training.row_splits.time_splits import cutoffs_of, parts_at
from training.settings import TrainingSettings

MONTHS = 12
MONTH = timedelta(days=30)
END = datetime(2024, 1, 1, tzinfo=UTC)
"""Day after the last report; any past day would do."""
TRAINED = END - (MONTHS + 1) * MONTH
WEEKS_BEFORE = 78
PLANTED_MONTHS = (9, 10, 11, 12)
RAISED = TRAINED + 6 * MONTH
"""When prices rise, if that change is planted."""
SPEND = "customer_orders_windowed__spend_90d"
TENURE = "customer_recency__tenure_days"

Rows = pd.DataFrame


@dataclass(frozen=True)
class PlantedChange:
    """A change of the requested rows.

    columns: the report must name at least one of them.
    change: (rows of a month, a generator) → the changed rows; None: orders cost 1.5 times as much since `RAISED`.
    """

    name: str
    columns: tuple[str, ...]
    change: Callable[[Rows, np.random.Generator], Rows] | None


def _with_missing(rows: Rows, random: np.random.Generator) -> Rows:
    return rows.assign(**{SPEND: np.where(random.random(len(rows)) < 0.2, np.nan, rows[SPEND])})


def _new_customers(rows: Rows, random: np.random.Generator) -> Rows:
    new = np.flatnonzero(rows[TENURE] < 120)
    others = random.permutation(np.flatnonzero(rows[TENURE] >= 120))
    return rows.iloc[np.sort(np.concatenate([new, others[: len(new)]]))]


PLANTED = (
    PlantedChange("prices × 1.5 since the sixth month", ("customer_lifetime__last_order_value", SPEND), None),
    PlantedChange(f"`{SPEND}` is 0 for everybody", (SPEND,), lambda rows, _: rows.assign(**{SPEND: 0.0})),
    PlantedChange(f"`{SPEND}` is lost for a fifth", (SPEND,), _with_missing),
    PlantedChange("half of those asked for came within 120 days", (TENURE,), _new_customers),
)


@dataclass(frozen=True)
class SteadyShop:
    """One shop: a model trained on its first 78 weeks, and the rows of the months after.

    counted: the rows that the contract's histograms count.
    steady: month → input rows of the month's answers; index: customer id.
    """

    folder: Path
    customers: int
    seed: int
    model: ImportedModel
    counted: Rows
    steady: Mapping[int, Rows]

    def raised(self) -> Mapping[int, Rows]:
        """As `steady`, with raised prices; each call builds the rows."""
        return _monthly_rows(self.folder / "raised", self.customers, self.seed, self.model, raised=True)


def steady_shop(folder: Path, customers: int, seed: int) -> SteadyShop:
    """Make a shop and train its model.

    Args:
        customers: number of customers who arrive before `END`; about 60 % have come when the model is trained.
    """
    artefacts, source = _build_shop(folder / "trained", customers, seed, TRAINED)
    model, counted = _train(TrainingData(artefacts, "churn_v1"), source, folder)
    return SteadyShop(folder, customers, seed, model, counted, _monthly_rows(folder / "steady", customers, seed, model))


def _build_shop(
    root: Path, customers: int, seed: int, until: datetime, raised: bool = False
) -> tuple[Artefacts, OrderAddresses]:
    artefacts, source = Artefacts.of({}, root=root), OrderAddresses.of({}, root)
    source.orders.parent.mkdir(parents=True)
    weeks = WEEKS_BEFORE + (END - TRAINED) / timedelta(weeks=1)
    # No late or repeated orders: deliveries are not part of this simulation.
    shop = ShopParameters(weeks=weeks, late_share=0, repeated_share=0)
    write_synthetic(source.orders, customers, seed, END.date(), shop, until)
    if raised:
        orders = pq.read_table(source.orders)
        factor = pc.if_else(pc.greater_equal(orders["event_timestamp"], pa.scalar(RAISED)), 1.5, 1.0)
        raised_amounts = pc.round(pc.multiply(orders["amount"], factor), 2)
        column = orders.schema.get_field_index("amount")
        pq.write_table(orders.set_column(column, "amount", raised_amounts), source.orders)
    settings = JobsSettings(snapshot_backfill_days=30, daily_snapshots=1)
    build_features(artefacts, source, settings, until)
    apply(artefacts)
    return artefacts, source


def _train(data: TrainingData, addresses: OrderAddresses, folder: Path) -> tuple[ImportedModel, Rows]:
    settings = TrainingSettings()
    source = OrderLabels(addresses, "churn", CHURNED)
    cutoffs = cutoffs_of(source, settings)
    training, test = (
        data.rows(parts_at(source, times, settings, settings.seed), USE_CASE.task)
        for times in ((*cutoffs.training, cutoffs.validation), (cutoffs.test,))
    )
    inputs = describe_inputs(data.schema, training, test)
    pipeline = logistic(settings.seed).fit(resolve_inputs(inputs, data.schema, training.raw(inputs)), training.labels)
    score = onnx_scorer(compile_to_onnx(pipeline, len(inputs)))
    tried = resolve_inputs(inputs, data.schema, test.raw(inputs)).to_numpy(dtype=np.float32)
    contract = ModelContract(
        model_name="steady_shop",
        model_version="1",
        run_id="",
        feature_schema=data.schema,
        inputs=inputs,
        entity="customer",
        task=BinaryTask(classes=("retained", "churned"), threshold=DecisionThreshold(value=0.5, rule="nobody asks")),
        outputs=outputs_of("binary", "churn"),
        headline=Headline(population="all", metric="roc_auc"),
        age_feature=USE_CASE.age_feature,
        training_window={COUNTED_AT: cutoffs.test.isoformat()},
        data_fingerprint="",
        metrics={},
        library_versions={},
        scores=Histogram.of(score(tried)),
    )
    model = ImportedModel("steady_shop:v1", "champion", contract, contract.sha256, score, folder, "onnx", "", None)
    counted = test.columns[contract.feature_names].astype(np.float64)
    return model, counted.set_index(test.entities["customer_id"].to_numpy())


def _monthly_rows(root: Path, customers: int, seed: int, model: ImportedModel, raised: bool = False) -> dict[int, Rows]:
    """Input rows of every known customer at a random time of the first day of each month."""
    artefacts, source = _build_shop(root, customers, seed, END, raised)
    data = TrainingData(artefacts, "churn_v1")
    orders = pq.read_table(source.orders, columns=["customer_id", "event_timestamp"]).to_pandas()
    since = orders.groupby("customer_id")["event_timestamp"].min()
    random = np.random.default_rng(seed)
    asked = []
    for month in range(1, MONTHS + 1):
        day = TRAINED + month * MONTH
        known = since.index[since < day].to_numpy()
        moments = pd.Timestamp(day) + pd.to_timedelta(random.uniform(0, 86_400, len(known)), unit="s").floor("us")
        asked.append(pd.DataFrame({"customer_id": known, "event_timestamp": moments, "month": month}))
    entities = pd.concat(asked, ignore_index=True)
    entities["event_timestamp"] = entities["event_timestamp"].astype("datetime64[us, UTC]")
    rows = data.features_at(entities)[model.contract.feature_names].set_index(entities["customer_id"])
    months = entities["month"].to_numpy()
    return {month: rows[months == month] for month in range(1, MONTHS + 1)}


def log_months(folder: Path, model: ImportedModel, months: Mapping[int, Rows]) -> None:
    """Log answers for these rows, in files as the service writes them."""
    resolver = Resolver.of(model.contract)
    for month, rows in months.items():
        at = TRAINED + month * MONTH + timedelta(hours=12)
        resolved = resolver.resolve(RawFeatures(rows.to_numpy(dtype=np.float64), None), at.timestamp())
        answers = Answers(
            request_ids=[f"{month}-{n}" for n in range(len(rows))],
            rows=[0] * len(rows),
            keys=rows.index.tolist(),
            as_of_unix_us=unix_us(at),
            model=model,
            answered=np.ones(len(rows), dtype=bool),
            resolved=resolved,
            outcomes=outcomes(resolved, model.score(resolved.matrix), task_outputs(model.contract)),
        )
        file = folder / f"date={at.date()}" / f"{month:02d}.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(log_table(answers), file)


def report_of(log: Path, out: Path, model: ImportedModel, month: int, baseline: str = "training") -> dict[str, Any]:
    """Run the drift job for one month; returns the model's report."""
    day = TRAINED + month * MONTH
    watch = DriftWatch.of(JobsSettings(), out, day, day + timedelta(days=1), baseline)
    with suppress(DriftError):
        watch_drift(log, watch, opened=lambda _: model)
    (found,) = json.loads((out / "drift.json").read_text(encoding="utf-8"))["models"]
    report: dict[str, Any] = found
    return report


def run(output: Path, shops: int = 10, customers: int = 4_000) -> None:
    """Simulate the shops and write the results."""
    started = time.monotonic()
    alarms: dict[str, list[bool]] = {"training": [], "promoted": []}
    found: dict[str, list[bool]] = {planted.name: [] for planted in PLANTED}
    compared: list[int] = []
    for seed in range(shops):
        with tempfile.TemporaryDirectory(prefix="steady-shop-") as scratch:
            folder = Path(scratch)
            shop = steady_shop(folder, customers, seed)
            log_months(folder / "log", shop.model, shop.steady)
            for baseline, drifted in alarms.items():
                for month in range(1 if baseline == "training" else 2, MONTHS + 1):
                    report = report_of(folder / "log", folder / "out", shop.model, month, baseline)
                    drifted.append(bool(report["drifted"]))
                    compared.append(report["entities"])
            random, raised = np.random.default_rng(seed), shop.raised()
            for number, planted in enumerate(PLANTED):
                months = {
                    month: planted.change(shop.steady[month], random) if planted.change else raised[month]
                    for month in PLANTED_MONTHS
                }
                log_months(folder / f"log-{number}", shop.model, months)
                for month in months:
                    report = report_of(folder / f"log-{number}", folder / "out", shop.model, month)
                    found[planted.name].append(not set(planted.columns).isdisjoint(report["drifted"]))
    settings = JobsSettings()
    figures: dict[str, Any] = {
        "shops": shops,
        "customers": customers,
        "fewest_compared": min(compared),
        "most_compared": max(compared),
        "alpha": settings.drift_alpha,
        "min_psi": settings.drift_min_psi,
        "alarms": {name: {"reports": len(drifted), "alarms": sum(drifted)} for name, drifted in alarms.items()},
        "planted": {name: {"reports": len(flags), "found": sum(flags)} for name, flags in found.items()},
    }
    store(output, "drift_year", {**provenance(), "took_seconds": round(time.monotonic() - started), **figures})


def section(found: dict[str, Any] | None) -> str:
    """The table of docs/monitoring.md."""
    if found is None:
        return NOT_MEASURED
    rows = [
        (
            f"nothing, baseline `{name}`",
            f"{counts['reports']}",
            f"{counts['alarms']} ({counts['alarms'] / counts['reports']:.1%})",
        )
        for name, counts in found["alarms"].items()
    ]
    rows += [
        (name, f"{counts['reports']}", f"{counts['found']} ({counts['found'] / counts['reports']:.0%})")
        for name, counts in found["planted"].items()
    ]
    text = prose(
        f"`make drift-year`, {found['measured_at'][:10]}, commit `{found['git_commit']}`: monthly reports of "
        f"{found['shops']} steady shops in the year after training, {found['fewest_compared']:,} to "
        f"{found['most_compared']:,} customers compared; rate of false alarms {found['alpha']:.0%} of reports, index "
        f"from {found['min_psi']:g} on. Planted changes are looked for in the months {PLANTED_MONTHS[0]} to "
        f"{PLANTED_MONTHS[-1]}; a report finds one if it names one of its columns."
    )
    return f"{text}\n{table(('what has changed', 'reports', 'say drift'), rows, left=1)}".rstrip("\n")
