"""What a newcomer sees: `make run` in a fresh tree, the curl it prints, the model it made."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from tests.integration.jobs.local.test_listening import needs_ipv6
from tests.loop import Loop, free_port, make_run


def test_the_curl_that_make_run_prints_answers_what_it_printed(loop: Loop) -> None:
    command = re.search(r"^  (curl .*)$", loop.output, re.MULTILINE)
    assert command, loop.output
    printed = json.loads(loop.output[loop.output.index("\n{\n") : loop.output.index("\n}\n") + 2])
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")

    done = subprocess.run(command.group(1), shell=True, capture_output=True, text=True, timeout=30, check=True)  # noqa: S602
    answer = json.loads(done.stdout)

    assert ("00042", "ok", []) == (answer["customer_id"], answer["status"], answer["feature_issues"])
    # The request's time is part of the features, so seconds later the probability differs in late decimals.
    assert printed["churn_probability"] == pytest.approx(answer["churn_probability"], abs=1e-3)
    assert printed["model"] == answer["model"]


PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@pytest.mark.parametrize(
    ("host", "url", "variables"),
    [
        pytest.param("[::1]", "http://[::1]", PROXIES, marks=needs_ipv6),
        ("0.0.0.0", "http://127.0.0.1", [name.upper() for name in PROXIES]),  # noqa: S104
    ],
)
def test_the_service_on_other_addresses_and_behind_a_proxy_is_ready_and_its_curl_works(
    loop: Loop, tmp_path: Path, host: str, url: str, variables: Sequence[str]
) -> None:
    home = shutil.copytree(loop.environment["BENTOML_HOME"], tmp_path / "bentoml")
    environment = {name: value for name, value in loop.environment.items() if not name.lower().endswith("_proxy")}
    environment |= dict.fromkeys(variables, f"http://127.0.0.1:{free_port()}")  # nobody listens there
    environment |= {"BENTOML_HOME": str(home), "SERVICE_ALLOW_ANONYMOUS": "true"}

    with make_run(loop.root, environment, "serve", host, url) as served:
        command = re.search(r"^  (curl .*)$", served.output, re.MULTILINE)
        assert command, served.output
        assert f"{served.url}/predict" in command.group(1)
        answer = served.call("POST", "/predict", {"customer_id": "00042"})
        assert (200, "00042") == (answer.status, answer.body["customer_id"])
        if shutil.which("curl") is None and os.environ.get("CI") != "true":
            pytest.skip("no curl on this machine")
        done = subprocess.run(  # noqa: S602  # as a user would paste it
            command.group(1), shell=True, env=environment, capture_output=True, text=True, timeout=30, check=True
        )
    assert "00042" == json.loads(done.stdout)["customer_id"]


def test_make_run_a_second_time_trains_nothing_and_answers_the_same(loop: Loop, tmp_path: Path) -> None:
    first = loop.call("POST", "/predict", {"customer_id": "00042"}).body
    # Of its own, because a BentoML server wipes the metrics of every other one on the same BENTOML_HOME.
    home = shutil.copytree(loop.environment["BENTOML_HOME"], tmp_path / "bentoml")

    with make_run(loop.root, {**loop.environment, "BENTOML_HOME": str(home)}) as again:
        second = again.call("POST", "/predict", {"customer_id": "00042"}).body

        assert "train:" not in again.output
        assert "features:" not in again.output
    assert first["model"] == second["model"]
    assert first["churn_probability"] == pytest.approx(second["churn_probability"], abs=1e-3)


def test_new_orders_train_nothing_by_accident_and_what_scores_says_what_is_missing(loop: Loop) -> None:
    orders, tag = loop.root / "var/data/orders.parquet", loop.root / "var/model_tag"
    pinned, before = tag.read_text(), loop.make("models").stdout
    as_it_was = orders.stat()
    os.utime(orders)
    try:
        scored = loop.make("score-batch", f"OUT={loop.root}/var/scored")
        run = loop.make("first-model")
        elsewhere = loop.make("score-batch", f"MODEL_TAG_PATH={loop.root}/var/no_such_tag")
    finally:
        os.utime(orders, ns=(as_it_was.st_atime_ns, as_it_was.st_mtime_ns))

    assert 0 == scored.returncode, scored.stderr
    assert "note: the orders are newer than the model, which stays: make retrain" in run.stdout
    assert not [word for word in ("train:", "import:", "features:") if word in scored.stdout + run.stdout]
    assert 0 != elsewhere.returncode
    assert "error: no model is imported here; make run makes all that it takes" in elsewhere.stderr
    assert (pinned, before) == (tag.read_text(), loop.make("models").stdout)


def test_the_label_belongs_to_the_model_and_another_length_is_refused_before_anything_is_made(loop: Loop) -> None:
    before = loop.make("models").stdout
    assert 90 == loop.call("GET", "/model").body["contract"]["label"]["days"]

    for target in ("first-model", "retrain", "label-fits"):
        refused = loop.make(target, "TRAINING_LABEL_DAYS=30")

        assert 0 != refused.returncode
        assert "known 90 days later, and TRAINING_LABEL_DAYS is 30: unset it" in refused.stderr
        assert not [word for word in ("train:", "import:", "features up to") if word in refused.stdout]
    assert 0 == loop.make("label-fits", "TRAINING_LABEL_DAYS=90").returncode
    assert before == loop.make("models").stdout


def test_every_step_says_what_it_does(loop: Loop) -> None:
    for word in ("orders:", "features:", "apply:", "materialize:", "train:", "import:", "0 changed decisions"):
        assert word in loop.output
    assert "69,659 orders of 23,570 customers" in loop.output
    assert "CDNOW shifted to end yesterday" in loop.output


@dataclass(frozen=True)
class Champion:
    version: ModelVersion
    metrics: dict[str, float]
    plots: set[str]


def champion_of(uri: str) -> Champion:
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    version = client.get_model_version_by_alias("customer_churn", "champion")
    run_id = str(version.run_id)
    plots = {Path(file.path).name for file in client.list_artifacts(run_id, "plots")}
    return Champion(version, client.get_run(run_id).data.metrics, plots)


def points(champion: Champion) -> dict[str, float]:
    """The model's metrics themselves; intervals and corrections depend on the number of resamples, kept small here."""
    resampled = ("_low", "_high", "_corrected")
    own = {name: value for name, value in champion.metrics.items() if not name.startswith("system/")}
    return {name: value for name, value in own.items() if not name.endswith(resampled)}


@pytest.fixture(scope="module")
def champion(loop: Loop) -> Champion:
    return champion_of(f"sqlite:///{loop.root}/var/mlflow/mlflow.db")


def test_the_champion_ranks_better_than_recency_and_not_better_than_possible(champion: Champion) -> None:
    metrics = champion.metrics

    assert 0.83 <= metrics["all_roc_auc"] <= 0.86, "more would mean a leak"
    assert metrics["active_roc_auc"] >= 0.72
    assert metrics["active_roc_auc_low"] > metrics["active_recency_roc_auc_high"], "intervals must not overlap"


def test_the_registered_version_carries_signature_contract_digests_and_plots(champion: Champion) -> None:
    signature = mlflow.models.get_model_info(str(champion.version.source)).signature
    assert signature is not None
    assert 27 == len(signature.inputs.input_names())
    assert {
        *("contract_sha256", "model_sha256", "data_fingerprint", "feature_service_sha256", "git_commit")
    } <= champion.version.tags.keys()
    kinds = ("calibration", "roc", "precision_recall", "lift", "confusion")
    assert {"shap.png", *(f"{p}_{kind}.png" for p in ("all", "active") for kind in kinds)} == champion.plots


def test_training_again_on_the_same_data_gives_the_same_metrics(loop: Loop, champion: Champion, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-m", "training", "train"],
        cwd=loop.root,
        env={**loop.environment, "MLFLOW_TRACKING_URI": uri, "TRAINING_BOOTSTRAP_RESAMPLES": "20"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    again = champion_of(uri)
    assert points(champion) == points(again)
    assert champion.version.tags["data_fingerprint"] == again.version.tags["data_fingerprint"]
