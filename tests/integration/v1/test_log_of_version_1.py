"""What version 1 answered is read by today's jobs: each says of it, to the last figure, what it said then."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.fixtures.v1.record import FOLDER
from tests.fixtures.v1.restored import TAGS, Home

NUMBER = re.compile(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?")
NOT_COMPARED = {"audited_at", "compared_at", "judged_at", "seconds", "log", "labels.file"}
"""When a report was made, how long that took, and of which files."""

NAMED_ANEW = {
    "active.0": "populations.active.0",
    "moved.decisions": "moved.answers",
    "moved.probability_max": "moved.score_max",
    "moved.probability_mean": "moved.score_mean",
}
"""Place in a report of version 1 → its place today."""

MEMBERS_NAMED_ANEW = {
    "churned": "classes.churned",
    "customers": "entities",
    "max_auc_loss": "max_loss",
    "older_customers_left_out": "older_left_out",
    "roc_auc": "figure",
}
"""Member of any part of a report of version 1 → its name today."""

SAID_ANEW = {
    "training: the customers of": "training: the rows of",
    "customers of customer_churn": "entities of customer_churn",
    "customers are needed": "entities are needed",
}
"""Words of version 1 → those of today."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With the model store, the log and the orders of version 1, and features that today's code makes of them."""
    made = Home(tmp_path_factory.mktemp("v1") / "home")
    made.restore_model_store()
    made.restore_log()
    shutil.copy(FOLDER / "orders.parquet", made.root / "orders.parquet")
    made.said("jobs", "apply")
    made.said("jobs", "features")
    return made


def figures(document: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Place → value, of every leaf of a report."""
    if isinstance(document, dict | list):
        members = document.items() if isinstance(document, dict) else enumerate(document)
        for name, value in members:
            yield from figures(value, f"{path}.{name}".lstrip("."))
    elif path not in NOT_COMPARED:
        yield path, document


def place_today(place: str) -> str:
    *parts, member = NAMED_ANEW.get(place, place).split(".")
    return ".".join([*parts, MEMBERS_NAMED_ANEW.get(member, member)])


def said_today(value: object) -> object:
    if isinstance(value, str):
        for then, now in SAID_ANEW.items():
            value = value.replace(then, now)
    return value


def without(places: set[str], figures: dict[str, Any]) -> dict[str, Any]:
    return {place: value for place, value in figures.items() if place not in places}


@pytest.mark.parametrize("request_id", ["single-7", "cached", "open-single", "overridden"])
def test_why_explains_a_decision_as_it_did(home: Home, request_id: str) -> None:
    """In the same words; ONNX Runtime's sums differ between processors by some 1e-7."""
    recorded = (FOLDER / "outputs" / f"why-{request_id}.txt").read_text(encoding="utf-8")

    said = home.said("jobs", "why", "--request", request_id, "--row", "1" if request_id == "cached" else "0")

    then, now = ([NUMBER.sub("#", " ".join(line.split())) for line in text.splitlines()] for text in (recorded, said))
    assert then == now
    numbers = [[float(found) for found in NUMBER.findall(text)] for text in (recorded, said)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5, abs=2e-6)


@pytest.mark.parametrize(
    ("command", "report"),
    [
        ("audit-skew", "skew"),
        ("drift", "drift"),
        ("live-quality", "live_quality"),
        ("compare-live", "compare_live"),
    ],
)
def test_a_report_says_what_it_said(home: Home, tmp_path: Path, command: str, report: str) -> None:
    """Figures may be added."""
    labels = () if command in ("audit-skew", "drift") else ("--labels", str(FOLDER / "labels.parquet"))

    home.said("jobs", command, *labels, "--out", str(tmp_path))

    recorded, made = (
        dict(figures(json.loads((folder / f"{report}.json").read_text(encoding="utf-8"))))
        for folder in (FOLDER / "outputs", tmp_path)
    )
    kept = {place: made.get(place_today(place)) for place in recorded}
    measured = {place for place, value in recorded.items() if isinstance(value, float)}
    said = {place: said_today(value) for place, value in recorded.items()}
    assert without(measured, said) == without(measured, kept)
    assert [recorded[place] for place in measured] == pytest.approx(
        [kept[place] for place in measured], rel=1e-5, abs=1e-6
    )


def test_the_answers_get_the_labels_that_they_got(home: Home, tmp_path: Path) -> None:
    home.said("jobs", "labels", "--out", str(tmp_path / "labels.parquet"))

    recorded, made = (pq.read_table(folder / "labels.parquet") for folder in (FOLDER, tmp_path))
    recorded = recorded.rename_columns({"churned": "label"})
    order = [("request_id", "ascending"), ("row", "ascending")]
    assert recorded.sort_by(order).equals(made.sort_by(order))


def test_answers_under_pseudonyms_get_the_labels_of_those_under_names(home: Home, tmp_path: Path) -> None:
    hidden = Home(tmp_path / "hidden")
    hidden.restore_model_store()
    hidden.restore_log("pseudonymised_log")
    shutil.copy(home.root / "orders.parquet", hidden.root)
    shutil.copytree(home.root / "offline_store", hidden.root / "offline_store", symlinks=True)
    shutil.copytree(home.root / "feast", hidden.root / "feast")

    key = str(FOLDER / "id_key")
    hidden.said("jobs", "labels", "--id-key-file", key, "--out", str(tmp_path / "labels.parquet"))

    made, recorded = (pq.read_table(folder / "labels.parquet").to_pylist() for folder in (tmp_path, FOLDER))
    named = {row["row"]: row["churned"] for row in recorded if row["request_id"] == "batch-1" and row["row"] < 12}
    assert {row["row"]: row["label"] for row in made if row["row"] < 12} == named
    assert len(named) == 12


def test_the_older_version_scores_everybody_as_it_did(home: Home, tmp_path: Path) -> None:
    at, out = "2026-03-02T10:00", str(tmp_path)
    home.said("jobs", "score-batch", "--as-of", at, "--model", TAGS["1"], "--out", out)

    (made,) = tmp_path.rglob("*.parquet")
    (recorded,) = (FOLDER / "predictions").rglob("*.parquet")
    assert recorded.relative_to(FOLDER / "predictions") == made.relative_to(tmp_path)
    then, now = pq.read_table(recorded, partitioning=None), pq.read_table(made, partitioning=None)
    assert then.schema.equals(now.schema)
    assert then.drop(["churn_probability"]).equals(now.drop(["churn_probability"]))
    assert then["churn_probability"].to_pylist() == pytest.approx(now["churn_probability"].to_pylist(), abs=1e-6)
