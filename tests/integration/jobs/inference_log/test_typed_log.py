"""What is made of the log of a typed model: Feast's log of served features, `make why`, and drift by categories.

Answers over HTTP from a real Redis; the model lies in a BentoML store.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from jobs.__main__ import main
from jobs.drift.baseline import BaselineChoice
from jobs.drift.watch import DriftError, DriftWatch, watch_drift
from jobs.feature_store import open_feature_store
from jobs.inference_log.publish_to_feast import publish_log
from jobs.local import embedded_redis
from scoring.models.model_store import open_model
from scoring.pseudonyms import Pseudonyms
from tests.integration.jobs.audited_households import (
    DEPARTMENT,
    FAVOURITE,
    HOME,
    LAST_COUPON,
    LATER,
    MADE,
    OFFERED,
    SHARE,
    SPEND,
    STORE,
    TASTE,
    WINDOWED,
    Households,
)
from training.data.dataset import TrainingData

AT = MADE + LATER
PRIVATE = "private-4711"


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Households]:
    """A panel whose model is in a BentoML store of its own."""
    root = tmp_path_factory.mktemp("panel")
    BentoMLContainer.model_store.set(ModelStore(tmp_path_factory.mktemp("models")))
    try:
        made = Households.in_folder(root, embedded_redis.start(root=root))
        model = made.model
        metadata = {
            "file_sha256": model.file_sha256,
            "pipeline_sha256": model.pipeline_sha256,
            "contract_sha256": model.contract_sha256,
        }
        with bentoml.models.create(model.tag, module=__name__, labels={"runtime": "onnx"}, metadata=metadata) as stored:
            for file in model.folder.iterdir():
                (Path(stored.path) / file.name).write_bytes(file.read_bytes())
        yield replace(made, model=open_model(model.tag))
    finally:
        BentoMLContainer.model_store.reset()
        embedded_redis.stop(root=root)


@pytest.fixture
def households(imported: Households, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Households:
    """The same with a log of the test's own, to which the commands are pointed."""
    monkeypatch.setenv("INFERENCE_LOG_DIR", str(tmp_path / "log"))
    imported.fill()
    return imported.logging_to(tmp_path)


def published(households: Households) -> list[dict[str, Any]]:
    folder = households.artefacts.offline_store / "feature_log" / "audited_v1"
    rows: list[dict[str, Any]] = ds.dataset(folder).to_table().to_pylist()
    for file in folder.iterdir():
        file.unlink()
    return rows


def test_feasts_log_of_served_features_has_the_values_that_the_store_has(households: Households) -> None:
    """Keys and request values by their types, texts of categories, times, whole arrays; null where none was known."""
    households.serve([*households.few, (-1, "MEAT")], at=AT)

    assert publish_log(households.artefacts).startswith("20 rows published, of 1 files")

    rows = {(row["household_id"], row["department"]): row for row in published(households)}
    entities = pd.DataFrame(households.few, columns=["household_id", "department"])
    entities["coupon_value"] = np.arange(len(entities)) % 7 / 4
    entities["event_timestamp"] = pd.Series([pd.Timestamp(AT)] * len(entities)).astype("datetime64[us, UTC]")
    joined = TrainingData(households.artefacts, "audited_v1").features_at(entities)
    joined = joined.assign(household_id=entities["household_id"], department=entities["department"])
    assert {*households.few} == rows.keys()
    nulls = 0
    for expected in joined.to_dict("records"):
        row = rows[expected["household_id"], expected["department"]]
        for name in (FAVOURITE, STORE, HOME, SHARE, SPEND, f"{TASTE}__taste", OFFERED):
            value = expected[name]
            if value is None or (isinstance(value, float) and np.isnan(value)):
                assert row[name] is None, name
                assert row[f"{name}__status"] in (2, 3), "null in a row, or no row of the household"
                nulls += 1
            elif name == f"{TASTE}__taste":
                assert list(value) == row[name]
            else:
                assert value == (row[name] if isinstance(value, str) else pytest.approx(row[name], rel=1e-6)), name
                assert 1 == row[f"{name}__status"]
        if not pd.isna(expected[LAST_COUPON]):
            served, stored = (pd.to_datetime(of[LAST_COUPON], utc=True) for of in (row, expected))
            assert abs(served - stored) <= timedelta(seconds=1)
    assert nulls > 5
    assert [n % 7 / 4 for n in range(20)] == [rows[pair]["coupon_value"] for pair in households.few]


def test_a_category_that_the_model_does_not_know_and_an_override_are_invalid_in_feasts_log(
    households: Households,
) -> None:
    with households.in_redis(household_id=households.few[0][0]) as stored:
        stored.put(FAVOURITE, string_val=PRIVATE)
    households.serve(households.few[:1], at=AT)
    households.serve(households.few[1:2], at=AT, features={FAVOURITE: "TOYS", SHARE: None})

    publish_log(households.artefacts)

    rows = {row["household_id"]: row for row in published(households)}
    one, other = rows[households.few[0][0]], rows[households.few[1][0]]
    assert (None, 0) == (one[FAVOURITE], one[f"{FAVOURITE}__status"])
    assert [(None, 0)] * 2 == [(other[name], other[f"{name}__status"]) for name in (FAVOURITE, SHARE)]


def test_pseudonyms_of_whole_numbers_are_published_as_feasts_schema_has_them(
    households: Households, tmp_path: Path
) -> None:
    """Feast's schema has no room for the pseudonym of a number: that key is null, and the other one is a pseudonym."""
    secret = tmp_path / "key"
    secret.write_text("k" * 40)
    households.serve(at=AT, inference_log_id_key_file=str(secret))

    publish_log(households.artefacts)

    rows = published(households)
    hidden = Pseudonyms.from_file(secret).of([department for _, department in households.few])
    assert sorted(hidden) == sorted(row["department"] for row in rows)
    assert {None} == {row["household_id"] for row in rows}


def test_why_replays_an_answer_with_its_keys_texts_nulls_and_request_values(
    households: Households, capsys: pytest.CaptureFixture[str]
) -> None:
    with households.in_redis(household_id=households.few[1][0]) as stored:
        stored.put(FAVOURITE, string_val=PRIVATE)
    households.serve(at=AT)
    request = households.logged()["request_id"][0].as_py()

    codes = [main(["why", "--request", request, "--row", str(row)]) for row in range(20)]

    told = capsys.readouterr().out
    assert {0} == set(codes)
    household, department = households.few[1]
    assert f"household   {household}\ndepartment  {department}\n" in told
    assert 'inputs      {"coupon_value":0.25}' in told
    favourite = [line.split()[1] for line in told.splitlines() if line.startswith(FAVOURITE)]
    assert "unseen" == favourite[1]
    assert all(text.startswith('"') or text in ("null", "unseen") for text in favourite)
    assert PRIVATE not in told
    shares = [line.split() for line in told.splitlines() if line.startswith(SHARE)]
    assert "null" in {cells[1] for cells in shares}
    assert not [line for line in told.splitlines() if line.startswith("no explanation")]


def test_drift_names_a_category_whose_texts_nulls_and_unknown_values_moved(
    households: Households, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    households.serve(households.pairs, at=AT)
    calm = DriftWatch(tmp_path / "calm", baseline=BaselineChoice("period", since=AT - LATER, until=AT + LATER))
    for household in sorted({household for household, _ in households.pairs}):
        with households.in_redis(household_id=household) as stored:
            if household % 3 == 0:
                stored.put(FAVOURITE, string_val=PRIVATE)
            elif household % 3 == 1:
                stored.put(FAVOURITE)
            else:
                stored.put(FAVOURITE, string_val="FUEL")
    households.serve(households.pairs, at=AT + 3 * LATER)

    with pytest.raises(DriftError, match=FAVOURITE):
        watch_drift(households.artefacts.inference_log, calm, opened=lambda _: households.model)

    (found,) = json.loads((tmp_path / "calm" / "drift.json").read_text())["models"]
    assert FAVOURITE == found["drifted"][0]
    assert found["entities"] == len(households.pairs)
    page = (tmp_path / "calm" / found["page"]).read_text()
    (live,) = re.findall(rf"{FAVOURITE}: drifted\..*?live: ([^<]*)", page)
    shares = {name: float(share) for name, share in re.findall(r"([\w -]+?) ([\d.]+)%", live)}
    assert {"FUEL", "unseen", "missing"} == {name.strip() for name, share in shares.items() if share > 20}
    assert PRIVATE not in page
    other = {column["column"] for column in found["columns"]} - {FAVOURITE}
    assert {STORE, HOME, SHARE, LAST_COUPON, f"{DEPARTMENT}__department_spend_28d", f"{WINDOWED}__spend_7d"} <= other


def test_drift_from_training_finds_none_in_the_rows_that_it_was_trained_on(
    households: Households, tmp_path: Path
) -> None:
    known = households.pairs[: len(households.pairs) * 2 // 3]
    households.serve(known, at=MADE)

    report = watch_drift(
        households.artefacts.inference_log, DriftWatch(tmp_path / "out"), opened=lambda _: households.model
    )

    assert [] == report["models"][0]["drifted"]
    assert len(known) == report["models"][0]["entities"]


def test_the_registered_service_has_a_column_for_each_key_and_request_value(households: Households) -> None:
    from feast.feature_logging import FeatureServiceLoggingSource

    store = open_feature_store(households.artefacts)
    service = store.get_feature_service("audited_v1")
    schema = FeatureServiceLoggingSource(service, store.project).get_schema(store.registry)

    assert (pa.int64(), pa.string()) == tuple(schema.field(name).type for name in ("household_id", "department"))
    assert pa.float64() == schema.field("coupon_value").type
