"""What `make init` proposes for a table, and what it refuses."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from artefacts.addresses import PROJECT_ROOT
from scoring.erased_keys import ErasedKeys
from tests.unit.training.tables.shop import customers, written
from training.errors import DatasetError, UseCaseError
from training.tables.columns import Feature, LeftOut
from training.tables.csv_file import import_csv, types_of
from training.tables.init import Asked, Written, write_use_case


def features(made: Written) -> dict[str, tuple[str, dict[str, str]]]:
    return {each.name: (each.dtype, dict(each.tags)) for each in made.proposal.features}


def left_out(made: Written) -> dict[str, str]:
    return {each.name: each.why for each in made.proposal.columns if isinstance(each, LeftOut)}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_types_are_inferred_and_nulls_are_kept(tmp_path: Path, kind: str) -> None:
    frame = customers().assign(code=lambda rows: rows["tenure"].map("{:03d}".format), active=lambda f: f["tenure"] > 9)
    frame["since"] = frame["at"] - pd.Timedelta(days=3)

    made = written(tmp_path, frame, kind)

    kept = {"on_missing": "keep"}
    assert {
        "plan": ("String", {}),
        "city": ("String", kept),
        "tenure": ("Int64", {}),
        "charge": ("Float64", kept),
        "code": ("String", {}),
        "active": ("Bool", {}),
        "since": ("UnixTimestamp", {}),
    } == features(made)
    assert {"customer_id": "INT64"} == made.proposal.keys
    assert ("binary", ("no", "yes"), True) == (
        made.proposal.outcome.kind,
        made.proposal.outcome.classes,
        made.proposal.by_time,
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("target", ["binary", "multiclass", "regression", "flag", "zero_one", "stars"])
def test_what_is_written_is_formatted_code_without_a_finding(tmp_path: Path, kind: str, target: str) -> None:
    targets: dict[str, Callable[[pd.DataFrame], Any]] = {
        "binary": lambda rows: rows["left"],
        "multiclass": lambda rows: np.where(rows["tenure"] < 20, "short", np.where(rows["tenure"] < 50, "mid", "long")),
        "regression": lambda rows: rows["charge"].fillna(0) + np.random.default_rng(1).normal(0, 20, len(rows)),
        "flag": lambda rows: rows["left"] == "yes",
        "zero_one": lambda rows: (rows["left"] == "yes").astype(int),
        "stars": lambda rows: rows["tenure"] % 5 + 1,
    }
    task = "multiclass" if target == "stars" else None

    made = written(tmp_path, customers().assign(left=targets[target]), kind, task=task, label_days=7)

    ruff = Path(sys.executable).parent / "ruff"
    for file in made.folder.rglob("*.py"):
        place = PROJECT_ROOT / file.relative_to(tmp_path)
        for command in (["format", "--check"], ["check"]):
            done = subprocess.run(
                [ruff, *command, "--no-cache", "--stdin-filename", place, "-"],
                input=file.read_text(),
                capture_output=True,
                text=True,
                check=False,
                cwd=PROJECT_ROOT,
            )
            assert 0 == done.returncode, f"{file.name}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    ("target", "kind", "classes", "names"),
    [
        (["yes", "no"], "binary", ("no", "yes"), {}),
        ([True, False], "binary", ("not_left", "left"), {}),
        ([0, 1], "binary", ("not_left", "left"), {0: "not_left", 1: "left"}),
        ([1, 2], "binary", ("1", "2"), {1: "1", 2: "2"}),
        (["a", "b", "c"], "multiclass", ("a", "b", "c"), {}),
        ([1.5, 2.5, 3.0, 4.0], "regression", (), {}),
    ],
)
def test_the_task_follows_from_the_target(
    tmp_path: Path, target: list[Any], kind: str, classes: tuple[str, ...], names: dict[Any, str]
) -> None:
    made = written(tmp_path, customers().assign(left=np.resize(np.array(target), 1000)))

    outcome = made.proposal.outcome
    assert (kind, classes, names) == (outcome.kind, outcome.classes, outcome.names)


def test_a_column_that_knows_the_outcome_is_named_with_how_well_and_left_out(tmp_path: Path) -> None:
    frame = customers()
    frame["refund"] = np.where(frame["left"] == "yes", 5.0, 0.0)
    frame["reason"] = frame["left"].map({"yes": "price"})

    made = written(tmp_path, frame)

    assert {"refund", "reason"} == set(left_out(made))
    assert "warning: 'refund' is left out: alone it predicts 'left' (ROC AUC 1.000 on rows held out)" in made.notes[0]
    assert "# Left out: refund: alone it predicts 'left'" in (made.folder / "feature_repo/feature_views.py").read_text()


def test_a_good_column_is_not_taken_for_leakage(tmp_path: Path) -> None:
    assert "tenure" in features(written(tmp_path, customers()))


def test_a_column_dated_after_the_rows_time_is_named_and_left_out(tmp_path: Path) -> None:
    frame = customers().assign(cancelled=lambda rows: rows["at"] + pd.Timedelta(days=4))

    made = written(tmp_path, frame)

    assert ["warning: 'cancelled' is left out: it is later than 'at' in 100% of its rows, when nobody knew it"] == [
        note for note in made.notes if "cancelled" in note
    ]


def test_ids_among_the_features_are_named_and_left_out(tmp_path: Path) -> None:
    frame = customers()
    frame["user"] = frame["customer_id"]
    frame["email"] = [f"u{n}@example.org" for n in range(len(frame))]
    frame["row"] = range(len(frame))
    frame["comment"] = [f"text {n // 1.5}" for n in range(len(frame))]

    found = left_out(written(tmp_path, frame))

    assert found["user"] == "it is the key 'customer_id' once more"
    assert found["email"] == "each customer_id has one of its own: it is an id"
    assert found["row"] == "it numbers the rows"
    assert "different texts in 1,000 rows: free text, or an id" in found["comment"]


def test_columns_without_use_are_left_out_with_the_reason(tmp_path: Path) -> None:
    frame = customers().assign(empty=None, one=1)

    assert {"empty": "it is null in every row", "one": "it has the same value in every row"} == left_out(
        written(tmp_path, frame)
    )


def test_a_category_column_of_parquet_that_holds_numbers_is_named(tmp_path: Path) -> None:
    frame = customers().assign(floor=lambda rows: rows["tenure"].astype(str))

    found = left_out(written(tmp_path, frame, "parquet"))

    assert {"floor": "its texts are numbers: write them as numbers, or name the categories"} == found


def test_too_many_categories_are_named(tmp_path: Path) -> None:
    frame = customers(30_000).assign(street=[f"s{n // 2}" for n in range(30_000)])

    assert (
        "it has 15,000 different texts, and a category has at most 10,000; group them"
        == left_out(written(tmp_path, frame, "parquet"))["street"]
    )


def test_arrays_of_one_width_are_embeddings(tmp_path: Path) -> None:
    frame = customers().assign(picture=pd.Series(list(np.ones((1000, 4), dtype=np.float32))))

    made = written(tmp_path, frame, "parquet")

    assert ("Array(Float32)", {"width": "4"}) == features(made)["picture"]
    assert 3 == list(made.proposal.inputs).index("shop__picture__3") - list(made.proposal.inputs).index(
        "shop__picture__0"
    )


def test_composite_keys_become_several_entities(tmp_path: Path) -> None:
    frame = customers().assign(shop_id=lambda rows: "s" + (rows["tenure"] % 3).astype(str))

    made = written(tmp_path, frame, keys=("customer_id", "shop_id"))

    assert {"customer_id": "INT64", "shop_id": "STRING"} == made.proposal.keys
    text = (made.folder / "feature_repo" / "entities.py").read_text()
    assert 'shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.STRING)' in text
    assert 'key=["customer_id", "shop_id"]' in (made.folder / "use_case.py").read_text()


def test_a_csv_file_is_typed_with_times_in_utc(tmp_path: Path) -> None:
    frame = customers()
    frame["at"] = frame["at"].dt.strftime("%Y-%m-%d %H:%M:%S")

    made = written(tmp_path, frame.rename(columns={"charge": "Monthly charge ($)"}), zone="Europe/Oslo")

    rows = pq.read_table(tmp_path / "var" / "use_cases" / "shop" / "offline_store" / "table.parquet")
    assert ("int64", "timestamp[us, tz=UTC]", "double") == tuple(
        str(rows.schema.field(name).type) for name in ("customer_id", "at", "Monthly_charge")
    )
    assert pd.Timestamp(frame["at"][0], tz="Europe/Oslo") == rows["at"][0].as_py()
    assert "columns are renamed: 'Monthly charge ($)' is 'Monthly_charge'" in made.notes


def test_times_without_a_zone_in_a_csv_file_are_read_as_utc_and_that_is_said(tmp_path: Path) -> None:
    frame = customers()
    frame["at"] = frame["at"].dt.strftime("%Y-%m-%d")

    assert "2025-01-0" in written(tmp_path, frame).notes[0]
    assert "name no zone and are read as UTC" in str(written_notes(tmp_path))


def written_notes(root: Path) -> list[str]:
    frame = customers()
    frame["at"] = frame["at"].dt.strftime("%Y-%m-%d")
    return list(written(root, frame, name="other").notes)


@pytest.mark.parametrize("odd", ["A-17", str(2**63)])
def test_a_key_that_becomes_text_because_of_one_value_is_told(odd: str, tmp_path: Path) -> None:
    frame = customers().astype({"customer_id": str})
    frame.loc[4, "customer_id"] = odd

    made = written(tmp_path, frame)

    assert {"customer_id": "STRING"} == made.proposal.keys
    assert f"key 'customer_id' is text, not a number, because of {odd!r} in row 5" in made.notes


def test_a_key_of_texts_is_told_nothing(tmp_path: Path) -> None:
    frame = customers()

    made = written(tmp_path, frame.assign(customer_id="c" + frame["customer_id"].astype(str)))

    assert not [note for note in made.notes if "is text" in note]


def test_a_table_elsewhere_is_found_elsewhere_on_another_machine(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    customers().to_csv(elsewhere / "customers.csv", index=False)
    customers().to_parquet(elsewhere / "customers.parquet", index=False, coerce_timestamps="us")
    given: dict[str, Any] = {"keys": ("customer_id",), "time": "at", "target": "left"}

    csv = write_use_case(Asked("of_csv", str(elsewhere / "customers.csv"), **given), {}, project)
    parquet = write_use_case(Asked("of_parquet", str(elsewhere / "customers.parquet"), **given), {}, project)

    assert 'file = Path(environ.get("TABLE") or FILE)' in (csv.folder / "data.py").read_text()
    path = f'os.environ.get("OF_PARQUET_TABLE") or "{elsewhere}/customers.parquet"'
    assert f"ParquetTable(Path({path}))" in (parquet.folder / "use_case.py").read_text()
    assert f"path={path}," in (parquet.folder / "feature_repo" / "data_sources.py").read_text()


@pytest.mark.parametrize(
    ("kind", "way"), [("csv", "make data TABLE=…"), ("parquet", "SHOP_TABLE=…")], ids=["csv", "parquet"]
)
def test_the_description_of_a_use_case_has_no_path_of_this_machine(tmp_path: Path, kind: str, way: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    if kind == "csv":
        customers().to_csv(tmp_path / "customers.csv", index=False)
    else:
        customers().to_parquet(tmp_path / "customers.parquet", index=False, coerce_timestamps="us")

    asked = Asked("shop", str(tmp_path / f"customers.{kind}"), ("customer_id",), "at", "left")
    made = write_use_case(asked, {}, project)

    first = (made.folder / "use_case.py").read_text().splitlines()[0]
    assert f'"""Predicts `left` from the table customers.{kind} ({way} says where it is)."""' == first


def test_a_time_that_becomes_an_age_is_explained(tmp_path: Path) -> None:
    frame = customers()
    made = written(tmp_path, frame.assign(joined=frame["at"] - pd.Timedelta(days=30)), "parquet")

    views = (made.folder / "feature_repo" / "feature_views.py").read_text()

    assert "# A time is an age: training sees how long before the row's own time it was" in views


def test_a_table_without_a_time_has_entities_drawn(tmp_path: Path) -> None:
    made = written(tmp_path, customers().drop(columns="at"), time=None)

    assert (False, "event_timestamp") == (made.proposal.by_time, made.proposal.time)
    assert "splits=RandomSplit()" in (made.folder / "use_case.py").read_text()
    assert "        stamped=True,\n" in (made.folder / "data.py").read_text()


def test_a_project_gets_a_name_that_does_not_end_with_anothers(tmp_path: Path) -> None:
    for folder, project in (("feature_repo", "churn"), ("use_cases/a/feature_repo", "b")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "feature_store.yaml").write_text(f"project: {project}\n")

    assert "our_churn_table" == written(tmp_path, customers(), name="our_churn").proposal.project
    assert "shop" == written(tmp_path, customers()).proposal.project


NOW = datetime(2026, 1, 1, tzinfo=UTC)

REFUSED: list[tuple[str, str, Callable[[pd.DataFrame], pd.DataFrame], dict[str, Any], str]] = [
    ("an empty table", "parquet", lambda rows: rows.head(0), {}, "has no rows"),
    ("a CSV file of a header", "csv", lambda rows: rows.head(0), {}, "customers.csv has no rows"),
    (
        "one broken time",
        "csv",
        lambda rows: rows.assign(at=["n/a?" if row == 2 else at.isoformat() for row, at in enumerate(rows["at"])]),
        {},
        "TIME: column 'at' of .* has 'n/a\\?', which is no ISO time, in row 3",
    ),
    (
        "a time that was not named",
        "csv",
        lambda rows: pd.concat([rows, rows]),
        {"time": None},
        "TIME: .* has several rows of a key; name the column with the time of a row, TIME=",
    ),
    (
        "without the key",
        "csv",
        lambda rows: rows.drop(columns="customer_id"),
        {},
        "KEY: .* has no column 'customer_id'; it has at, plan",
    ),
    ("without the target", "csv", lambda rows: rows.drop(columns="left"), {}, "TARGET: .* has no column 'left'"),
    ("without the time", "parquet", lambda rows: rows.drop(columns="at"), {}, "TIME: .* has no column 'at'"),
    ("no time said", "parquet", lambda rows: rows, {"time": None}, "TIME: say which column of .* has the time"),
    (
        "a float key",
        "parquet",
        lambda rows: rows.astype({"customer_id": float}),
        {},
        r"key 'customer_id' is double; a key is text, int32 or int64: pandas makes floats",
    ),
    (
        "a key beyond 2^63",
        "parquet",
        lambda rows: rows.assign(customer_id=rows["customer_id"].astype("uint64") + 2**63),
        {},
        r"key 'customer_id' is uint64; .* ends at 2\^63 − 1: write larger ids as text",
    ),
    (
        "a null key",
        "parquet",
        lambda rows: rows.assign(customer_id=rows["customer_id"].astype("Int64").where(rows["tenure"] > 5)),
        {},
        r"key 'customer_id' is null in \d+ of 1,000 rows; leave those out",
    ),
    (
        "rows twice",
        "parquet",
        lambda rows: pd.concat([rows, rows.head(3)]),
        {},
        r"3 rows repeat the customer_id and at of another; keep one",
    ),
    (
        "time as text",
        "parquet",
        lambda rows: rows.assign(at=rows["at"].astype(str)),
        {},
        r"time 'at' is .*string; in pandas: df\['at'\] = pd.to_datetime",
    ),
    (
        "time without zone",
        "parquet",
        lambda rows: rows.assign(at=rows["at"].dt.tz_localize(None)),
        {},
        r"time 'at' is timestamp\[us\], without a zone; in pandas: .*tz_localize\('UTC'\)",
    ),
    (
        "another date format",
        "csv",
        lambda rows: rows.assign(at=rows["at"].dt.strftime("%d/%m/%Y")),
        {},
        "TIME: column 'at' of .* has '.*', which is no ISO time",
    ),
    ("one class", "csv", lambda rows: rows.assign(left="no"), {}, "TARGET: 'left' is 'no' in every row"),
    (
        "a null target",
        "csv",
        lambda rows: rows.assign(left=rows["left"].where(rows["tenure"] > 5)),
        {},
        r"TARGET: 'left' is null in \d+ of 1,000 rows of .*OUTCOME_AFTER",
    ),
    (
        "another task",
        "csv",
        lambda rows: rows,
        {"task": "regression"},
        "TASK: 'left' is 'no' and others; a regression needs numbers",
    ),
    (
        "a target whose name is taken",
        "csv",
        lambda rows: rows.rename(columns={"left": "label"}),
        {"target": "label"},
        "TARGET: answers have a member 'label' already; rename the column",
    ),
    (
        "a key whose name is taken",
        "csv",
        lambda rows: rows.rename(columns={"customer_id": "limit"}),
        {"keys": ("limit",)},
        "KEY: requests and answers have a member 'limit' already; rename the column",
    ),
    (
        "too few rows",
        "csv",
        lambda rows: rows.head(200),
        {},
        r"class 'yes' has \d+ rows; about 140 are needed, 20 of them to test",
    ),
    ("a zone that is none", "csv", lambda rows: rows, {"zone": "Mars"}, "ZONE: 'Mars' is no time zone"),
    ("no such file", "csv", lambda rows: rows, {"table": "other.csv"}, "TABLE: .*other.csv does not exist"),
    ("days without a time", "csv", lambda rows: rows, {"time": None, "label_days": 7}, "OUTCOME_AFTER: needs TIME"),
    (
        "days beyond the table",
        "csv",
        lambda rows: rows,
        {"label_days": 200},
        "splits: the times of the rows, .* do not give training",
    ),
]


@pytest.mark.parametrize(
    ("kind", "change", "asked", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_bad_input_is_refused_in_one_line_that_names_it_and_nothing_is_written(
    tmp_path: Path, kind: str, change: Callable[[pd.DataFrame], pd.DataFrame], asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(DatasetError, match=said) as raised:
        written(tmp_path, change(customers()), kind, **asked)

    assert "\n" not in str(raised.value)
    assert not (tmp_path / "use_cases").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: pd.concat([rows, rows.head(1)]), "1 rows repeat the customer_id and at of another"),
        (
            lambda rows: rows.assign(customer_id=rows["customer_id"].astype(object).where(rows.index > 0)),
            "key 'customer_id' is null in 1",
        ),
        (lambda rows: rows.head(0), "has no rows"),
        (lambda rows: rows.assign(at=rows["at"].where(rows.index > 0, NOW + pd.Timedelta(days=400))), "after now"),
    ],
)
def test_rows_of_another_day_are_checked_as_those_of_the_first(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    file, out = tmp_path / "customers.csv", tmp_path / "customers.parquet"
    columns = {"customer_id": "VARCHAR", "at": "TIMESTAMPTZ", "plan": "VARCHAR"}
    checks: dict[str, Any] = {"keys": ["customer_id"], "time": "at", "now": NOW}
    rows = customers().reset_index(drop=True)[list(columns)]
    rows.to_csv(file, index=False)
    assert len(rows) == import_csv(file, out, columns, **checks)
    before = out.read_bytes()

    change(rows).to_csv(file, index=False)
    with pytest.raises(DatasetError, match=said):
        import_csv(file, out, columns, **checks)

    assert before == out.read_bytes()


def test_a_folder_that_is_there_is_refused(tmp_path: Path) -> None:
    written(tmp_path, customers())

    with pytest.raises(UseCaseError, match=r"NAME: .*use_cases/shop is there already"):
        written(tmp_path, customers())
    with pytest.raises(UseCaseError, match="NAME: 'My shop' is no name"):
        written(tmp_path, customers(), name="My shop")


def test_every_feature_of_a_proposal_is_written(tmp_path: Path) -> None:
    made = written(tmp_path, customers())

    text = (made.folder / "feature_repo" / "feature_views.py").read_text()
    assert all(f'Field(name="{each.name}"' in text for each in made.proposal.columns if isinstance(each, Feature))


@pytest.mark.parametrize(
    ("variable", "asked"),
    [("NAME", {"name": ""}), ("TABLE", {"table": ""}), ("KEY", {"keys": ()}), ("TARGET", {"target": ""})],
)
def test_a_variable_that_is_not_given_is_named(tmp_path: Path, variable: str, asked: dict[str, Any]) -> None:
    with pytest.raises(UseCaseError) as refused:
        written(tmp_path, customers(100), **asked)

    assert f"{variable}=: needed by make init" == str(refused.value)


def test_rows_of_an_erased_key_are_not_brought_back_by_the_next_import(tmp_path: Path) -> None:
    frame = customers()
    frame.to_csv(tmp_path / "customers.csv", index=False)
    out = tmp_path / "offline_store" / "table.parquet"
    columns = types_of(tmp_path / "customers.csv")
    erased = int(frame["customer_id"].iloc[3])
    ErasedKeys.of(out.parent).add({"customer_id": erased})

    rows = import_csv(tmp_path / "customers.csv", out, columns, keys=["customer_id"], time="at", now=NOW)

    assert len(frame) - 1 == rows
    assert erased not in pq.read_table(out)["customer_id"].to_pylist()
