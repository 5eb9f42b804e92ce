"""A contract with all that `tests.models.fakes.small_contract` lacks, and a real model of it.

Keys of an int64 and a text, categories of text and of numbers, kept nulls, a timestamp's age, an array, and values
that come with the request.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from contract import (
    BinaryTask,
    CategoryDistribution,
    DecisionThreshold,
    EntityKey,
    FeatureInput,
    FeatureSchema,
    FeatureSpec,
    Headline,
    ModelContract,
    RequestInput,
    SourceView,
    TrainingDistribution,
    outputs_of,
)
from contract.inputs import QUANTILES
from contract.values.category_counts import CategoryCounts
from scoring.models.imported_model import ImportedModel
from scoring.models.model_frame import model_frame
from tests.models.fakes import DAY, NOW, FakeOnlineFeatures, OnDemand, Rows, StoredRow

CUSTOMER, MERCHANT, PAIR, BASKET = "customer", "merchant", "pair", "basket"
SEGMENT, REGION, BALANCE, SIGNED_UP = (f"{CUSTOMER}__{name}" for name in ("segment", "region", "balance", "signed_up"))
TASTE = f"{MERCHANT}__taste"
VISITS, IS_NEW = f"{PAIR}__visits", f"{PAIR}__is_new"
RATIO = f"{BASKET}__amount_to_balance"
SEGMENTS, REGIONS = ("family", "senior", "student"), (10, 20, 2**53)
LATEST = 2**63 - 1
KEY = (7, "m1")


def typed_schema() -> FeatureSchema:
    """Views by the customer, by the merchant and by both, and an on-demand view over the first."""

    def spec(name: str, dtype: str, **members: Any) -> FeatureSpec:
        view = name.split("__")[0]
        return FeatureSpec.model_validate({"name": name, "dtype": dtype, "view": view, "sources": (view,), **members})

    return FeatureSchema(
        project="typed",
        feature_service="typed_v1",
        entity_keys=(
            EntityKey(join_key="customer_id", dtype="int64"),
            EntityKey(join_key="merchant_id", dtype="string"),
        ),
        views=(
            SourceView(name=CUSTOMER, ttl_seconds=None, join_keys=("customer_id",)),
            SourceView(name=MERCHANT, ttl_seconds=30 * DAY, join_keys=("merchant_id",)),
            SourceView(name=PAIR, ttl_seconds=None),
        ),
        features=(
            spec(SEGMENT, "string", kind="categorical", on_missing="keep"),
            spec(REGION, "int64", kind="categorical", on_unseen="refuse"),
            spec(BALANCE, "float64", on_missing="keep"),
            spec(SIGNED_UP, "unixtimestamp", kind="age"),
            spec(f"{TASTE}__0", "float32", element=0),
            spec(f"{TASTE}__1", "float32", element=1),
            spec(VISITS, "int64"),
            spec(IS_NEW, "bool"),
            spec(RATIO, "float64", sources=(CUSTOMER,)),
        ),
        request_inputs=(
            RequestInput(name="amount", dtype="float64", filled_by="request"),
            RequestInput(name="channel", dtype="string", default="web", filled_by="request"),
            RequestInput(name="items", dtype="int32", default=1, filled_by="request"),
            RequestInput(name="gift", dtype="bool", default=False, filled_by="request"),
            RequestInput(name="at", dtype="unixtimestamp", default="2025-06-15T12:00:00Z", filled_by="request"),
            RequestInput(name="as_of", dtype="int64", filled_by="request_time_unix_us"),
        ),
        transformations={BASKET: "ab" * 32},
    )


DEFAULTS: Mapping[str, str | float | None] = {
    RATIO: 0.1,
    SEGMENT: None,
    BALANCE: None,
    REGION: 10,
    SIGNED_UP: 30 * DAY,
    f"{TASTE}__0": 0.0,
    f"{TASTE}__1": 0.0,
    VISITS: 1.0,
    IS_NEW: 0.0,
}
"""Input → what stands in; in the model's order, which is not the registry's."""
_VOCABULARIES: Mapping[str, tuple[Any, ...]] = {SEGMENT: SEGMENTS, REGION: REGIONS}


def typed_contract(policies: Mapping[str, Mapping[str, Any]] | None = None, **members: Any) -> ModelContract:
    """A contract over `typed_schema`.

    Args:
        policies: input → members of its own.
        members: of the contract.
    """
    schema = typed_schema()
    specs = {feature.name: feature for feature in schema.features}
    contract = ModelContract(
        model_name="small_churn",
        model_version="7",
        run_id="f" * 32,
        feature_schema=schema,
        inputs=tuple(
            FeatureInput.model_validate(
                {
                    **specs[name].model_dump(),
                    "default": default,
                    "default_from": "null" if default is None else "feature_repo",
                    "distribution": _distribution(name),
                    "vocabulary": _VOCABULARIES.get(name),
                    **(policies or {}).get(name, {}),
                }
            )
            for name, default in DEFAULTS.items()
        ),
        entity="purchase",
        task=BinaryTask(classes=("kept", "returned"), threshold=DecisionThreshold(value=0.5, rule="given by the test")),
        outputs=outputs_of("binary", "returned"),
        headline=Headline(population="all", metric="roc_auc"),
        training_window={"first_cutoff": "2025-01-01T00:00:00+00:00"},
        data_fingerprint="cd" * 32,
        metrics={"all_roc_auc": 0.8},
        library_versions={"numpy": np.__version__},
    )
    return contract.model_copy(update=members) if members else contract


def _distribution(name: str) -> Any:
    if name not in _VOCABULARIES:
        return TrainingDistribution(quantiles=(1.0,) * len(QUANTILES), null_rate=0.0)
    counts = (5,) * len(_VOCABULARIES[name])
    return CategoryDistribution(
        training=counts, null_rate=0.0, histogram=CategoryCounts(counts=counts, unseen=0, missing=1)
    )


@functools.cache
def typed_pipeline() -> Pipeline:
    """Fitted on rows of every kind: texts for categories, NaN for a null of a number."""
    inputs = typed_contract().inputs
    random = np.random.default_rng(3)
    rows = 400
    matrix = np.column_stack(
        [
            random.random(rows),
            random.choice([-2, 0, 1, 2], rows),  # a category of a training row is never unseen
            np.where(random.random(rows) < 0.2, np.nan, random.normal(0, 50, rows)),
            random.integers(0, 3, rows),
            random.integers(0, 300, rows) * DAY,
            *random.normal(0, 1, (2, rows)),
            random.integers(0, 9, rows),
            random.integers(0, 2, rows),
        ]
    ).astype(np.float32)
    returned = matrix[:, 0] + 0.3 * matrix[:, 1] + 0.2 * matrix[:, 5] > random.normal(0.3, 0.3, rows)
    categories = [given.name for given in inputs if given.codes is not None]
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("texts", texts, categories)], remainder="passthrough")
    return make_pipeline(columns, HistGradientBoostingClassifier(max_iter=20, random_state=3)).fit(
        model_frame(inputs, matrix), returned
    )


def typed_model(folder: Path, contract: ModelContract, role: str = "champion") -> ImportedModel:
    """The pipeline served as it is."""
    pipeline = typed_pipeline()

    def score(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        probabilities = pipeline.predict_proba(model_frame(contract.inputs, matrix))[:, 1]
        return np.asarray(probabilities, dtype=np.float32)

    return ImportedModel(
        tag="small_churn:v7",
        role=role,
        contract=contract,
        contract_sha256=contract.sha256,
        score=score,
        folder=folder,
        runtime="sklearn",
        file_sha256="ef" * 32,
        pipeline_sha256="ef" * 32,
        reason="its trees split categories",
    )


def _ratio(rows: Mapping[str, StoredRow], _as_of_unix_us: int, given: Mapping[str, Any]) -> float | None:
    """The request's amount by the customer's balance, more of it by each item and for a gift."""
    balance = rows[CUSTOMER].values.get("balance") if CUSTOMER in rows else None
    times = given["items"] * (2 if given["gift"] else 1)
    return None if not balance else given["amount"] * times / balance


ON_DEMAND: Mapping[str, OnDemand] = {RATIO: _ratio}


def purchase(
    *,
    segment: str | None = "student",
    region: int | None = 20,
    balance: float | None = 50.0,
    signed_up: float | None = NOW - 100 * DAY,
    taste: list[float] | None = [0.5, -1.0],  # noqa: B006  # read only
    visits: int | None = 3,
    is_new: bool | None = False,
    merchant_age: float = DAY,
) -> Rows:
    """Rows of a known customer and merchant at `NOW`: all features present and fresh unless the test says otherwise."""
    customer = {"segment": segment, "region": region, "balance": balance, "signed_up": signed_up}
    return {
        CUSTOMER: StoredRow(NOW - DAY, customer),
        MERCHANT: StoredRow(NOW - merchant_age, {"taste": taste}),
        PAIR: StoredRow(NOW - DAY, {"visits": visits, "is_new": is_new}),
    }


def typed_store(rows: Mapping[Any, Rows], contract: ModelContract) -> FakeOnlineFeatures:
    """An online store with rows by key."""
    return FakeOnlineFeatures(contract, rows, on_demand=ON_DEMAND)
