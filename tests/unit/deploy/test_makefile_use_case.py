"""make's targets for another use case: its own files, the steps that it has, and nothing of the shipped one."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.test_makefile import Project
from tests.unit.deploy.test_makefile import project as project  # a fixture

SPEND, SHARED = "USE_CASE=use_cases/spend", "USE_CASE=use_cases/shared"


@pytest.fixture
def place(project: Project) -> Project:
    """With `spend`, which has a feature repository and nothing to fetch or to build, and `shared`, which has none."""
    for file in (
        "use_cases/spend/feature_repo/feature_store.yaml",
        "use_cases/spend/use_case.py",
        "use_cases/shared/use_case.py",
    ):
        (project.root / file).parent.mkdir(parents=True, exist_ok=True)
        (project.root / file).touch()
    return project


def dry(place: Project, target: str, *arguments: str) -> str:
    """What make would run."""
    done = subprocess.run(
        ["make", "--dry-run", "--old-file=imported", target, *arguments],
        cwd=place.root,
        env={**{n: v for n, v in os.environ.items() if not n.startswith("MAKE")}, "VENV": "venv"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("given", [SPEND, f"{SPEND}/"])
def test_a_use_case_with_rows_of_its_own_fetches_and_builds_none(place: Project, given: str) -> None:
    applied = place.root / "var/use_cases/spend/stamps/applied"
    applied.unlink(missing_ok=True)

    assert [["apply"], ["materialize"]] == place.make("materialize", given)
    assert applied.exists()
    assert [["materialize"]] == place.make("materialize", given)
    assert [["train"]] == place.make("train", given)
    assert [] == place.make("data", given)
    assert [] == place.make("features", given)


def test_what_it_can_fetch_and_build_it_does(place: Project) -> None:
    for name in ("data", "features"):
        (place.root / f"use_cases/spend/{name}.py").touch()
    try:
        assert ["data"] == place.make("materialize", SPEND)[0]
        assert [["features"], ["train"]] == place.make("train", SPEND)
    finally:
        for name in ("data", "features"):
            (place.root / f"use_cases/spend/{name}.py").unlink()


def test_a_use_case_without_a_feature_repository_shares_the_shipped_one_s_features(place: Project) -> None:
    for target in ("train", "materialize"):
        place.make(target)
        assert place.make(target) == place.make(target, SHARED)
    assert not (place.root / "var/use_cases/shared/stamps").exists()


def test_a_use_case_that_names_another_uses_its_features(place: Project) -> None:
    (place.root / "use_cases/next").mkdir(exist_ok=True)
    (place.root / "use_cases/next/features_of").write_text("use_cases/spend\n")
    given = "USE_CASE=use_cases/next"
    for target in ("train", "materialize"):
        place.make(target, SPEND)
        assert place.make(target, SPEND) == place.make(target, given)
    assert not (place.root / "var/use_cases/next/stamps").exists()
    assert [["drift", "--out=var/use_cases/next/drift"]] == place.make("drift", given)


def test_data_that_it_fetches_follow_the_days_if_they_are_there(place: Project) -> None:
    (place.root / "use_cases/spend/data.py").touch()
    try:
        (place.root / "var/use_cases/spend/stamps/ordered").unlink(missing_ok=True)
        assert [] == place.make("sample-of-today", SPEND)
        assert [["data"]] == place.make("data", SPEND)
        assert [["data", "--follow-today"]] == place.make("sample-of-today", SPEND)
    finally:
        (place.root / "use_cases/spend/data.py").unlink()


@pytest.mark.parametrize("given", [SPEND, SHARED])
def test_reports_and_predictions_are_written_beside_the_use_case_s_own(place: Project, given: str) -> None:
    own = f"var/{given.removeprefix('USE_CASE=')}"

    assert [["score-batch", f"--out={own}/predictions"]] == place.make("score-batch", given)
    assert [["labels", f"--out={own}/labels.parquet"]] == place.make("labels", given)
    quality = f"--out={own}/live_quality"
    assert [["live-quality", f"--labels={own}/labels.parquet", quality]] == place.make("live-quality", given)
    assert [["compare-live", quality]] == place.make("compare-live", given)
    assert [["audit-skew", f"--out={own}/skew"]] == place.make("audit-skew", given)
    assert [["drift", f"--out={own}/drift"]] == place.make("drift", given)


def test_a_model_that_is_imported_is_looked_for_where_the_use_case_keeps_its_pin(place: Project) -> None:
    pin = place.root / "var/use_cases/spend/model_tag"
    pin.unlink(missing_ok=True)
    assert [["champion"], ["import-model"]] == place.make("first-model", SPEND)

    pin.write_text("spend:v1-0\n")
    assert [] == place.make("first-model", SPEND)


def test_bento_images_and_release_are_named_by_the_use_case(place: Project) -> None:
    assert "bentoml build --arg use_case=use_cases/spend " in dry(place, "build", SPEND)
    assert "bentoml build --arg use_case=training/churn " in dry(place, "build")
    assert "bentoml build --arg use_case=training/churn " in dry(place, "build", "USE_CASE=")
    (place.root / "values.yaml").touch()
    (place.root / "use_cases/spend/values.yaml").touch()
    deployed = dry(
        place, "deploy", SPEND, "IMAGE=r/spend-service:v1", "JOBS_IMAGE=r/spend-jobs:v1", "VALUES=values.yaml"
    )
    assert '--values=use_cases/spend/values.yaml "--values=$VALUES"' in deployed
    assert '-- "${RELEASE:-spend-service}" deploy/helm/model-service' in deployed
    assert '"--namespace=${NAMESPACE:-spend}"' in deployed


@pytest.mark.parametrize(
    "given", ["use_cases/a b", "use_cases/$(shell touch ran)", "/use_cases/spend", "../spend", "use_cases/a:b", "A"]
)
def test_a_use_case_that_no_rule_can_hold_is_refused_in_one_line(place: Project, given: str) -> None:
    done = subprocess.run(
        ["make", "models", f"USE_CASE={given}"], cwd=place.root, capture_output=True, text=True, check=False
    )

    assert not (place.root / "ran").exists()
    assert 2 == done.returncode
    assert "USE_CASE is a folder below this one, in small letters, digits, _ and /.  Stop.\n" in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_commands_are_told_which_use_case_is_meant(place: Project) -> None:
    tell = place.root / "training" / "__main__.py"
    before = tell.read_text()
    tell.write_text("import os; open('told', 'a').write('[\"' + os.environ['USE_CASE'] + '\"]' + chr(10))\n")
    try:
        assert [["use_cases/spend"]] == place.make("models", SPEND)
        assert [["use_cases/spend"]] == place.make("models", USE_CASE="use_cases/spend")
        assert [["training/churn"]] == place.make("models")
    finally:
        tell.write_text(before)


def test_secrets_and_names_of_compose_are_those_of_the_use_case(place: Project, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$USE_CASE_NAME $SECRETS_DIR" > ran_docker\n')
    docker.chmod(0o755)

    def seen(*arguments: str) -> str:
        own = "var/use_cases/spend/compose" if arguments else "var/compose"
        (place.root / own).mkdir(parents=True, exist_ok=True)
        place.make("down", *arguments, PATH=f"{tmp_path}:{os.environ['PATH']}")
        return (place.root / "ran_docker").read_text()

    assert "spend ./secrets/spend\n" == seen(SPEND)
    assert "churn ./secrets\n" == seen()
