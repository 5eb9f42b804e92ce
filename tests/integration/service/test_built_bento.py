"""`bentoml build` for another use case: the Bento is named by it, remembers it, and starts for no other one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from artefacts.addresses import PROJECT_ROOT
from tests.servers.redis_servers import free_port

ROOMS = ("artefacts", "contract", "scoring", "service", "feature_repo", "requirements")
SPEND = "use_cases/spend"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BentoML store with Bentos of two use cases. No model is imported."""
    tree = tmp_path_factory.mktemp("tree")
    for room in ROOMS:
        shutil.copytree(PROJECT_ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "bentofile.yaml", tree)
    repo = tree / SPEND / "feature_repo"
    repo.mkdir(parents=True)
    yaml_of_churn = (tree / "feature_repo/feature_store.yaml").read_text()
    (repo / "feature_store.yaml").write_text(yaml_of_churn.replace("project: churn", "project: spend"))
    (repo / "views.py").touch()
    for pin, tag in (("var/model_tag", "customer_churn:v1-a"), ("var/use_cases/spend/model_tag", "spend:v1-b")):
        (tree / pin).parent.mkdir(parents=True, exist_ok=True)
        (tree / pin).write_text(f"{tag}\n")
    home = tmp_path_factory.mktemp("bentoml")
    for use_case in (SPEND, "training/churn"):
        done = bentoml("build", "--arg", f"use_case={use_case}", home=home, cwd=tree)
        assert 0 == done.returncode, done.stdout + done.stderr
    return home


def bentoml(*arguments: str, home: Path, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    cleared = {name: value for name, value in os.environ.items() if name != "USE_CASE"}
    return subprocess.run(
        [str(Path(sys.executable).with_name("bentoml")), *arguments],
        cwd=cwd,
        env={**cleared, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def refusal(home: Path, bento: str, **environment: str) -> str:
    """The last line of a service that does not start."""
    done = bentoml("serve", bento, "--port", str(free_port()), home=home, cwd=home, **environment)
    assert 1 == done.returncode, done.stdout
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("name", "use_case"), [("spend", SPEND), ("churn", "training/churn")])
def test_a_bento_is_named_by_its_use_case_and_remembers_it(home: Path, name: str, use_case: str) -> None:
    (bento,) = (path for path in (home / "bentos" / name).iterdir() if path.is_dir())
    recorded = yaml.safe_load((bento / "bento.yaml").read_text())

    assert (name, {"use_case": use_case}) == (recorded["name"], recorded["args"])
    packed = {str(file.relative_to(bento / "src" / SPEND)) for file in (bento / "src" / SPEND).rglob("*.*")}
    assert {"feature_repo/feature_store.yaml"} == packed


def test_it_looks_for_the_model_that_is_pinned_for_its_use_case(home: Path) -> None:
    assert "spend:v1-b" in refusal(home, "spend:latest")
    assert "customer_churn:v1-a" in refusal(home, "churn:latest")


def test_it_serves_no_other_use_case(home: Path) -> None:
    said = refusal(home, "spend:latest", USE_CASE="training/churn")

    assert said == (
        "not starting: USE_CASE is 'training/churn', but this Bento was built for 'use_cases/spend'; "
        "unset it, or serve a Bento of that one"
    )
