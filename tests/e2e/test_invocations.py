"""`POST /invocations` beside `mlflow models serve` of the registered model: the same answers and the same refusals."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.loop import Answer, Loop, call, free_port
from tests.models.scoring_requests import Request, Row, bad, five_forms, good, records, send, split

START_SECONDS = 120
NO_MODEL = (["a", "b"], [[1.0, 1.0], [2.0, 2.0]])
"""Any inputs: labels are the same for every model."""
FAILS_MLFLOW = {"nested without end": 500}
"""Label → status of what MLflow refuses only by failing."""


class Both:
    """The two servers and what they serve.

    names: the model's inputs in its order.
    rows: nine customers as they occur in training, float32 (9, k).
    """

    def __init__(self, loop: Loop, mlflow_url: str) -> None:
        self._loop, self._mlflow_url = loop, mlflow_url
        inputs = loop.call("GET", "/model").body["contract"]["inputs"]
        self.names: list[str] = [feature["name"] for feature in inputs]
        quantiles = np.array([feature["distribution"]["quantiles"] for feature in inputs], dtype=np.float32)
        self.rows: list[Row] = quantiles.T.astype(np.float64).tolist()

    def answers(self, request: Request) -> tuple[Answer, Answer]:
        """MLflow's and ours."""
        asked: tuple[str, bytes, dict[str, str]] = (
            "/invocations",
            request.body,
            {"Content-Type": request.content_type},
        )
        return call(self._mlflow_url, "POST", *asked), call(self._loop.url, "POST", *asked)


@pytest.fixture(scope="module")
def both(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """`mlflow models serve` of the champion, beside the loop's service, for the tests of this module."""
    log = Path(tmp_path_factory.mktemp("mlflow")) / "serve.log"
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/customer_churn@champion"]
    environment = {
        **loop.environment,
        "MLFLOW_TRACKING_URI": f"sqlite:///{loop.root}/var/mlflow/mlflow.db",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # it looks for uvicorn there
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers_pings(url):
            assert process.poll() is None, f"mlflow ended early:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"mlflow was not ready in time:\n{log.read_text()}"
            time.sleep(0.2)
        yield Both(loop, url)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def answers_pings(url: str) -> bool:
    try:
        return call(url, "GET", "/ping").status == 200
    except urllib.error.URLError:
        return False


def predictions(answer: Answer) -> Any:
    assert 200 == answer.status, answer.body
    assert {"predictions"} == answer.body.keys()
    return answer.body["predictions"]


@pytest.mark.parametrize("label", good(*NO_MODEL))
def test_what_mlflow_answers_is_answered_alike(both: Both, label: str) -> None:
    sent = good(both.names, both.rows)[label]

    theirs, ours = both.answers(sent.request)

    expected = predictions(theirs)
    assert len(sent.rows) == len(expected)
    np.testing.assert_allclose(predictions(ours), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("label", bad(*NO_MODEL))
def test_what_mlflow_refuses_is_refused(both: Both, label: str) -> None:
    sent = bad(both.names, both.rows)[label]

    theirs, ours = both.answers(sent.request)

    assert FAILS_MLFLOW.get(label, sent.status) == theirs.status, theirs.body
    assert (sent.status, sent.field) == (ours.status, ours.body["error"].get("field"))


def test_the_predictions_of_a_customer_are_those_of_its_features(both: Both, loop: Loop) -> None:
    """By id or with the features in the request: one model, one number."""
    row = both.rows[4]
    features = records(both.names, [row])[0]
    whole = {
        feature["name"]: round(features[feature["name"]])
        for feature in loop.call("GET", "/model").body["contract"]["inputs"]
        if feature["dtype"].startswith("int")
    }
    features |= whole

    by_id = loop.call("POST", "/predict", {"customer_id": "00042", "features": features}).body["churn_probability"]
    request = five_forms(both.names, [[features[name] for name in both.names]])["inputs"]

    assert by_id == pytest.approx(predictions(both.answers(request)[1])[0][1], abs=1e-6)


def test_more_rows_than_a_batch_may_have_are_too_large(both: Both) -> None:
    answer = both.answers(send(split(both.names, [both.rows[0]] * 1001)))[1]

    error = answer.body["error"]
    assert (413, "too_large", "dataframe_split.data") == (answer.status, error["code"], error["field"])
