"""The audit of typed inputs: clean logs, other code and contracts, builds, pseudonyms of each key, the command."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from contract import RawFeatures, Resolver
from jobs import feature_store
from jobs.errors import JobError
from jobs.feature_store import apply
from scoring.feature_columns import encoded
from tests.integration.jobs.audited_households import (
    DEPARTMENT,
    FAVOURITE,
    LATER,
    LIFETIME,
    MADE,
    OFFERED,
    RATIO,
    SPEND,
    TASTE,
    WINDOWED,
    Households,
    environment_of,
    proofs,
)
from tests.integration.jobs.audited_shop import IMPORT, of_class
from tests.loop import SOURCE
from tests.models.households import END
from training.data.dataset import TrainingData


def test_a_clean_typed_repository_gives_no_finding(households: Households) -> None:
    """Fresh, between two snapshots, and past the TTL of the newest one, with keys of nobody."""
    for until in (END - timedelta(days=2), MADE):
        households.fill(until)
        households.serve([*households.pairs, (-5, "MEAT"), (2**63 - 1, "ÄÖ")], at=until)
    households.serve(households.pairs, at=MADE + timedelta(days=3))

    report = households.audit(max_unexplained=0, max_faults=0, max_moved=0.0)

    states = {state for row in households.logged()["states"].to_pylist() for state in row or []}
    inputs = np.array([row for row in households.logged()["inputs"].to_pylist() if row], dtype=np.float32)
    assert {"fresh", "stale", "missing", "unseen"} == states, "the log holds what the audit must understand"
    assert np.isnan(inputs).any()
    assert (inputs == -2).any()
    assert report["rows"] > 1000
    assert (0, 0, {}) == (report["differences"], report["not_reproduced"], of_class(report))
    assert (0, 0.0) == (report["moved"]["answers"], report["moved"]["score_max"])
    assert report["defaulted_alike"] > 500
    assert report["statuses"]["unknown_household_department"] >= 4


def test_every_replayed_vector_is_that_of_feasts_own_historical_join(households: Households) -> None:
    """Feast is the referee, also where the rows of today were served at times of the past."""
    households.fill()
    times = [END - timedelta(days=4, hours=-3), END - timedelta(days=40), MADE + LATER]
    for at in times:
        households.serve(households.few, at=at)
    report = households.audit()

    contract = households.model.contract
    entities = pd.DataFrame(
        [(*pair, n % 7 / 4, at) for at in times for n, pair in enumerate(households.few)],
        columns=["household_id", "department", "coupon_value", "event_timestamp"],
    )
    entities["event_timestamp"] = pd.to_datetime(entities["event_timestamp"], utc=True).astype("datetime64[us, UTC]")
    joined = TrainingData(households.artefacts, contract.feature_service).features_at(entities)
    seconds = entities["event_timestamp"].astype("int64").to_numpy() / 1e6
    by_feast = Resolver.of(contract).resolve(RawFeatures(encoded(joined, contract.inputs), None), seconds).matrix
    keys = ["as_of", "household_id", "department"]
    rows = households.logged().to_pandas().set_index(keys).loc[[(at, *pair) for at in times for pair in households.few]]
    served = np.array(rows["inputs"].tolist(), dtype=np.float32)

    differs = (served != by_feast) & ~(np.isnan(served) & np.isnan(by_feast))
    assert int(differs.sum()) == report["differences"] - of_class(report).get("event_time_fault", 0) > 0


def test_a_changed_on_demand_function_of_a_request_value_is_found(
    households: Households, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_store, "feature_repositories", tuple)  # the copy is no other use case
    households.fill()
    households.serve()
    folder = tmp_path / "audited"
    (folder / "feature_repo").mkdir(parents=True)
    for file in households.artefacts.feature_repo.glob("*.*"):
        content = file.read_text().replace("offered.append(float(value))", "offered.append(float(value) * 3)")
        (folder / "feature_repo" / file.name).write_text(content)
    changed = {"feast_registry": str(tmp_path / "registry.db"), "use_case": folder}
    elsewhere = households.artefacts.model_copy(update=changed)
    apply(elsewhere)

    report = replace(households, artefacts=elsewhere).audit()

    assert [OFFERED] == list(report["features"])
    assert {"transformation_changed"} == set(of_class(report))
    assert ["coupon_offer"] == [re.search(r"view (\w+)", note)[1] for note in report["notes"]]  # type: ignore[index]


def test_another_request_value_than_the_one_that_was_computed_with_is_found(households: Households) -> None:
    households.fill()
    households.serve()
    (file,) = households.artefacts.inference_log.rglob("*.parquet")
    table = pq.read_table(file, partitioning=None)
    column = table.column_names.index("request_inputs")
    given = [json.loads(text)["coupon_value"] for text in table["request_inputs"].to_pylist()]
    other = pa.array([json.dumps({"coupon_value": value * 5}) for value in given])
    pq.write_table(table.set_column(column, table.schema.field(column), other), file)

    report = households.audit()

    assert {OFFERED, RATIO} == set(report["features"])
    assert {"transformation_changed"} == set(of_class(report))


def test_a_vocabulary_in_another_order_is_found(households: Households) -> None:
    """The model that answers has other codes than the one whose contract the audit reads."""
    inputs = [
        given.model_copy(update={"vocabulary": tuple(reversed(given.vocabulary or ()))})
        if given.name == FAVOURITE
        else given
        for given in households.model.contract.inputs
    ]
    contract = households.model.contract.model_copy(update={"inputs": tuple(inputs)})
    households.fill()
    households.serve(model=replace(households.model, contract=contract))

    report = households.audit()

    assert {FAVOURITE} == set(report["features"])
    assert {"transformation_changed"} == set(of_class(report))
    assert {"stored otherwise under the same event time, by a row that is no newer"} == proofs(report)


def test_a_default_that_is_not_the_contracts_is_unexplained(households: Households) -> None:
    inputs = [
        given.model_copy(update={"default": 7.0}) if given.name == SPEND else given
        for given in households.model.contract.inputs
    ]
    contract = households.model.contract.model_copy(update={"inputs": tuple(inputs)})
    households.fill()
    households.serve(at=MADE + timedelta(days=3), model=replace(households.model, contract=contract))

    report = households.audit()

    assert {SPEND: {"unexplained": 20}} == report["features"]


@pytest.mark.parametrize(
    ("bought", "decided", "kind"),
    [
        (END - timedelta(hours=5), MADE + LATER, "late_event"),
        (MADE + LATER, MADE + 3 * LATER, "not_built_yet"),
        (MADE + LATER, MADE + 30 * LATER, "missed_build"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value:%dT%H}",
)
def test_what_a_build_of_its_own_rows_did_not_have_is_late_only_if_the_build_came_after_it(
    panel: Households, tmp_path: Path, bought: datetime, decided: datetime, kind: str
) -> None:
    households = panel.anew(tmp_path)
    households.fill()
    (one, department), *_, (other, _) = households.few
    households.serve([*households.few, (one, "NEWLY BOUGHT")], at=decided)
    households.build(
        END + timedelta(days=3, hours=1),
        *((one, name, bought, 12_345) for name in (department, "NEWLY BOUGHT")),
        until=END + timedelta(days=3),
    )

    report = households.audit(max_unexplained=0)

    assert {kind} == set(of_class(report)), report["features"]
    assert f"{LIFETIME}__total_spend" in report["features"]
    del other


def test_rows_that_other_code_built_are_a_changed_transformation(panel: Households, tmp_path: Path) -> None:
    households = panel.anew(tmp_path)
    households.fill()
    households.serve()
    code = households.artefacts.use_case / "features.py"
    code.write_text(code.read_text().replace("float(n % 7), 0.5", "float(n % 7), 0.25"))
    households.build(MADE + 5 * LATER, until=END)

    report = households.audit()

    assert {f"{TASTE}__taste__1": {"transformation_changed": 20}} == report["features"]
    assert {"the row served was built by other code than the offline row"} == proofs(report)


def test_decisions_of_which_the_snapshot_was_dropped_are_said_to_be_so(panel: Households, tmp_path: Path) -> None:
    households = panel.anew(tmp_path)
    households.fill()
    households.serve()
    for days in (14, 15):
        households.build(END + timedelta(days=days, hours=1), until=END + timedelta(days=days))

    report = households.audit(max_unexplained=0, max_faults=0, max_moved=0.0)

    assert {"no_longer_stored"} == set(of_class(report))
    assert {DEPARTMENT, WINDOWED, "coupon_offer"} == {name.split("__")[0] for name in report["features"]}
    assert (20, 0) == (report["moved"]["rows_not_replayable"], report["moved"]["rows"])


def test_pseudonyms_of_each_join_key_are_found_with_their_key_and_with_no_other(
    households: Households, tmp_path: Path
) -> None:
    households.fill(END - timedelta(days=1) + LATER)
    right, wrong = tmp_path / "key", tmp_path / "other"
    right.write_text("k" * 40)
    wrong.write_text("o" * 40)
    asked = [*households.few, (-1, "MEAT"), (1, "NOWHERE")]
    households.serve(asked)
    plain = households.audit()
    for file in households.artefacts.inference_log.rglob("*.parquet"):
        file.unlink()
    households.serve(asked, inference_log_id_key_file=str(right))

    found = households.audit(id_key_file=right)

    assert {True} == set(pc.starts_with(households.logged()["household_id"], "p:").to_pylist())
    assert (plain["classes"], plain["features"]) == (found["classes"], found["features"])
    assert of_class(found)
    assert all(example[key].startswith("p:") for example in found["examples"] for key in ("household_id", "department"))
    with pytest.raises(JobError, match="--id-key-file"):
        households.audit()
    with pytest.raises(JobError, match="is it the service's key"):
        households.audit(id_key_file=wrong)


def test_the_command_audits_what_the_service_logged(households: Households, tmp_path: Path) -> None:
    households.fill()
    with households.in_redis(household_id=households.few[0][0]) as stored:
        stored.put(FAVOURITE, string_val="not a department")
    households.serve()
    environment = {**environment_of(households.artefacts), "BENTOML_HOME": str(tmp_path / "bentoml")}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, *arguments]
        return subprocess.run(
            asked, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    python("-c", IMPORT, str(households.model.folder), households.model.tag)
    done = python("-m", "jobs", "audit-skew", "--out", str(tmp_path / "out"))

    assert (3, "") == (done.returncode, done.stdout), done.stderr
    assert "error: 1 type_or_order_fault: 0 faults are allowed" in done.stderr
    page = (tmp_path / "out" / "skew.html").read_text()
    assert "__unseen__" in page
    assert "not a department" not in page
