"""Households that ask for coupons: what the service answers over HTTP and logs, for the audit of typed inputs.

The features are those of `use_cases/household_spend`: int64 keys alone and beside a department, categories of text and
of numbers, nulls that the model takes, a timestamp's age and a request's value; and one array.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import redis
import yaml
from prometheus_client import CollectorRegistry
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from artefacts.addresses import PROJECT_ROOT, Artefacts
from contract import BinaryTask, DecisionThreshold, Headline, ModelContract, outputs_of
from contract.inputs import COUNTED_AT
from contract.values.histogram import Histogram
from jobs.feature_store import apply
from jobs.features.own_rows import build_own, own_rows
from jobs.materialization.materialize import materialize
from jobs.settings import JobsSettings
from jobs.skew.audit import Audit, audit_skew
from scoring.models.imported_model import ImportedModel
from scoring.models.model_frame import model_frame
from service.features.port import OnlineFeatures
from service.inference_log.writer import InferenceLog
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from tests.integration.jobs.audited_shop import date_build
from tests.integration.jobs.stored_hash import StoredHash
from tests.loop import call
from tests.models.fakes import store_model
from tests.models.households import END, write_households
from tests.planes import serving
from training.data.dataset import LabelledRows, TrainingData
from training.model_inputs import describe_inputs, resolve_inputs
from use_cases.household_spend.data import PURCHASES
from use_cases.household_spend.source import DESCRIPTION, Description, Source

HOUSEHOLDS = 60
SETTINGS = JobsSettings(materialize_verify_rows=0, daily_snapshots=7)
DEPARTMENT, WINDOWED, LIFETIME, DEMOGRAPHICS, TASTE = (
    f"household_{name}" for name in ("department", "windowed", "lifetime", "demographics", "taste")
)
SPEND, STORE, FAVOURITE = (f"{WINDOWED}__{name}" for name in ("spend_28d", "favourite_store", "favourite_department"))
SHARE, HOME = f"{WINDOWED}__discount_share_28d", f"{DEMOGRAPHICS}__home_ownership"
LAST_COUPON, GAP = f"{LIFETIME}__last_coupon_at", f"{LIFETIME}__mean_gap_days"
OFFERED, RATIO = "coupon_offer__coupon_offered", "coupon_offer__coupon_over_usual_spend"
SINCE_DEPARTMENT = "coupon_offer__days_since_department"
LATER = timedelta(hours=1)
MADE = END + LATER
"""When the first build was made, after the snapshot of `END`."""

_MORE_DEFINITIONS = """
from feast.types import Array, Float32

household_taste = FeatureView(
    name="household_taste",
    entities=[household],
    ttl=None,
    schema=[Field(name="taste", dtype=Array(Float32), tags={"width": "2"})],
    source=_rows("household_taste"),
)

audited_v1 = FeatureService(
    name="audited_v1",
    features=[
        household_department,
        household_windowed,
        household_lifetime[_LIFETIME],
        household_demographics[["age", "home_ownership"]],
        household_taste,
        household_recency,
        coupon_offer,
    ],
    logging_config=_logging("audited_v1"),
)
"""
_FEATURES = """
import pyarrow as pa
import pyarrow.compute as pc
from use_cases.household_spend.features import feature_rows as of_households


def feature_rows(environ, snapshots):
    rows = of_households(environ, snapshots)
    trips = rows["household_lifetime"]
    taste = [[float(n % 7), 0.5] for n in trips["basket_count"].to_pylist()]
    columns = {"household_id": trips["household_id"], "event_timestamp": trips["event_timestamp"]}
    return {**rows, "household_taste": pa.table({**columns, "taste": pa.array(taste, pa.list_(pa.float32()))})}
"""

Key = tuple[int, str]


@dataclass
class Households:
    """Purchases, an offline store, a Redis and a model; what is served is logged below `artefacts.inference_log`.

    pairs: households with departments in which they bought.
    few: a pair of each of twenty households, which a vocabulary knows all about, with a row in the newest snapshot.
    """

    artefacts: Artefacts
    root: Path
    model: ImportedModel
    pairs: Sequence[Key]
    few: Sequence[Key]

    @classmethod
    def in_folder(cls, root: Path, redis_url: str) -> "Households":
        """With a build of `MADE`; nothing is in Redis yet."""
        artefacts = made_use_case(root, redis_url)
        purchases = write_households(root / "data", HOUSEHOLDS, days=150)
        build(artefacts, root / "data", MADE)
        apply(artefacts)
        bought = purchases.dropna().drop_duplicates(["household_id", "department"], keep="last")
        bought = bought.sort_values("household_id", kind="stable")
        pairs = [(int(household), str(name)) for household, name in bought[["household_id", "department"]].to_numpy()]
        newest = bought[bought["bought_at"] > END - timedelta(days=80)].drop_duplicates("household_id")
        few = [(int(household), str(name)) for household, name in newest[["household_id", "department"]].to_numpy()]
        return cls(artefacts, root, audited_model(artefacts, root / "model", pairs), pairs, few[:20])

    def logging_to(self, folder: Path) -> "Households":
        """The same with a log and a report of its own."""
        return replace(self, artefacts=self.artefacts.model_copy(update={"inference_log": folder / "log"}), root=folder)

    def anew(self, folder: Path) -> "Households":
        """The same Redis, model and purchases with an offline store of its own."""
        artefacts = made_use_case(folder, str(self.artefacts.redis_url))
        write_households(folder / "data", HOUSEHOLDS, days=150)
        build(artefacts, folder / "data", MADE)
        apply(artefacts)
        return replace(self, artefacts=artefacts, root=folder)

    def build(self, made: datetime, *purchases: tuple[int, str, datetime, int], until: datetime) -> None:
        """Another build, at a time, with more purchases; all of before `until` are known then."""
        buy(self.root / "data", *purchases, until=until)
        build(self.artefacts, self.root / "data", made)

    def fill(self, until: datetime = MADE) -> None:
        """Redis as a materialization up to a time leaves it."""
        materialize(self.artefacts, until, replace=True, take_over=True, settings=SETTINGS)

    def serve(
        self,
        pairs: Sequence[Key] | None = None,
        at: datetime = MADE + LATER,
        model: ImportedModel | None = None,
        features: dict[str, object] | None = None,
        through: Callable[[OnlineFeatures], OnlineFeatures] = lambda features: features,
        requests: int = 1,
        **settings: object,
    ) -> list[dict[str, Any]]:
        """Answers over HTTP to all pairs in each request, or with overrides in one for each; coupons of 0 to 1.5."""
        rows: list[dict[str, Any]] = [
            {"household_id": household, "department": name, "inputs": {"coupon_value": n % 7 / 4}}
            for n, (household, name) in enumerate(self.few if pairs is None else pairs)
        ]
        chosen, metrics = ServiceSettings.model_validate(settings), ServiceMetrics("audited", CollectorRegistry())
        log = InferenceLog(self.artefacts.inference_log, chosen, metrics, clock=lambda: at)
        answered: list[dict[str, Any]] = []
        with serving(self.artefacts, model or self.model, at, log, through) as url:
            for _ in range(requests if features is None else 0):
                answer = call(url, "POST", "/predict_batch", {"rows": rows})
                assert answer.status == 200, answer.body
                answered += answer.body["predictions"]
            for row in rows if features is not None else ():
                answer = call(url, "POST", "/predict", {**row, "features": features})
                assert answer.status == 200, answer.body
                answered.append(answer.body)
        log.close(30)
        return answered

    def audit(self, **how: Any) -> dict[str, Any]:
        """What is reported; thresholds that allow everything unless they are given."""
        allowed = {"max_unexplained": 10**9, "max_faults": 10**9, "max_moved": 1.0}
        out = self.root / "skew"
        return audit_skew(self.artefacts, Audit(out, **{**allowed, **how}), opened=lambda _: self.model)

    def stored(self, view: str) -> pd.DataFrame:
        """All rows of a view in the build in place."""
        files = sorted((self.artefacts.offline_store / "current" / view).rglob("*.parquet"))
        rows: pd.DataFrame = pa.concat_tables([pq.read_table(file, partitioning=None) for file in files]).to_pandas()
        return rows

    def newest(self, column: str, view: str) -> dict[int, Any]:
        """Household → the newest stored value of a column, for the few that are served."""
        rows = self.stored(view).sort_values("event_timestamp").groupby("household_id").tail(1)
        values = rows.set_index("household_id")[column]
        return {household: values[household] for household, _ in self.few if household in values.index}

    def logged(self) -> pa.Table:
        """All rows of the log, by time and position."""
        table: pa.Table = ds.dataset(self.artefacts.inference_log).to_table()
        return table.sort_by([("as_of", "ascending"), ("row", "ascending")])

    @contextmanager
    def in_redis(self, **key: Any) -> Iterator[StoredHash]:
        """The hash of an entity."""
        with redis.Redis.from_url(str(self.artefacts.redis_url)) as client:
            yield StoredHash.of(client, "audited", key)


def made_use_case(root: Path, redis_url: str) -> Artefacts:
    """A use case with a Feast repository of its own below `root`."""
    shipped, folder = PROJECT_ROOT / "use_cases" / "household_spend" / "feature_repo", root / "audited"
    repo = folder / "feature_repo"
    repo.mkdir(parents=True)
    definitions = (shipped / "feature_definitions.py").read_text()
    definitions = definitions.replace('Project(\n    name="household"', 'Project(\n    name="audited"')
    (repo / "feature_definitions.py").write_text(definitions + _MORE_DEFINITIONS)
    described = yaml.safe_load((shipped / "feature_store.yaml").read_text())
    (repo / "feature_store.yaml").write_text(yaml.safe_dump({**described, "project": "audited"}))
    (folder / "features.py").write_text(_FEATURES)
    shutil.copy(PROJECT_ROOT / "tests" / "use_cases" / "coupon_purchase" / "use_case.py", folder)
    return Artefacts.of({"REDIS_URL": redis_url, "USE_CASE": str(folder)}, root=root)


def build(artefacts: Artefacts, data: Path, made: datetime) -> None:
    """A build of the purchases in `data`, by a clock that shows `made`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USE_CASE", str(artefacts.use_case))
        patch.setenv("HOUSEHOLD_DATA_DIR", str(data))
        rows = own_rows(artefacts.features_of)
        assert rows is not None
        build_own(artefacts, rows, SETTINGS, made)
    date_build(artefacts, made)


def buy(data: Path, *purchases: tuple[int, str, datetime, int], until: datetime) -> None:
    """Add purchases (household, department, time, cents) to those in `data`; all before `until` are known then."""
    source = Source(data)
    before = pq.read_table(source.purchases)
    rows = [
        dict(zip(PURCHASES.names, (household, 10**6 + n, 3, name, at, cents, 0, 0), strict=True))
        for n, (household, name, at, cents) in enumerate(purchases)
    ]
    described = Description(0, source.description().first, until)
    added = pa.Table.from_pylist(rows, schema=PURCHASES)
    table = pa.concat_tables([before.cast(PURCHASES), added])
    pq.write_table(table.replace_schema_metadata({DESCRIPTION: described.to_json()}), source.purchases)


def audited_model(artefacts: Artefacts, folder: Path, pairs: Sequence[Key]) -> ImportedModel:
    """A model over `audited_v1`, fitted on noise; it knows the categories of the first two thirds of the pairs."""
    data = TrainingData(artefacts, "audited_v1")
    known = pairs[: len(pairs) * 2 // 3]
    entities = pd.DataFrame(known, columns=["household_id", "department"])
    entities["event_timestamp"] = pd.Series([pd.Timestamp(MADE)] * len(known)).astype("datetime64[us, UTC]")
    entities["coupon_value"] = np.arange(len(known)) % 7 / 4
    random = np.random.default_rng(2)
    buys = random.random(len(known)) < 0.5
    rows = LabelledRows(entities, data.features_at(entities), buys, {})
    inputs = describe_inputs(data.schema, rows, rows)
    matrix = resolve_inputs(inputs, data.schema, rows.raw(inputs), rows.as_of).to_numpy()
    categories = [given.name for given in inputs if given.codes is not None]
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    pipeline = make_pipeline(
        ColumnTransformer([("texts", texts, categories)], remainder="passthrough"),
        HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=5, random_state=3),
    ).fit(model_frame(inputs, matrix), buys)
    contract = ModelContract(
        model_name="audited",
        model_version="1",
        run_id="a" * 32,
        feature_schema=data.schema,
        inputs=inputs,
        entity=data.entity,
        task=BinaryTask(classes=("no", "yes"), threshold=DecisionThreshold(value=0.5, rule="given by the test")),
        outputs=outputs_of("binary", "buys"),
        headline=Headline(population="all", metric="roc_auc"),
        scores=Histogram.of(pipeline.predict_proba(model_frame(inputs, matrix))[:, 1]),
        training_window={COUNTED_AT: END.isoformat()},
        data_fingerprint="b" * 64,
        metrics={},
        library_versions={},
    )
    stored = store_model(folder, contract, pipeline)
    return replace(stored.load(), tag="audited:v1")


def proofs(report: dict[str, Any]) -> set[str]:
    """What was found, in words."""
    return {found["evidence"] for found in report["evidence"]}


def environment_of(artefacts: Artefacts) -> dict[str, str]:
    """For commands over these artefacts."""
    return {
        **os.environ,
        "USE_CASE": str(artefacts.use_case),
        "FEAST_REGISTRY": artefacts.feast_registry,
        "OFFLINE_STORE_DIR": str(artefacts.offline_store),
        "INFERENCE_LOG_DIR": str(artefacts.inference_log),
        "REDIS_URL": str(artefacts.redis_url),
        "BENTOML_DO_NOT_TRACK": "true",
    }
