"""Which of MLflow's variables are followed."""

import pytest

from training.tracking.redirections import ignore_redirections


def test_how_the_server_is_reached_is_kept_and_all_else_is_taken_out_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = {
        "MLFLOW_TRACKING_URI": "https://mlflow",
        "MLFLOW_TRACKING_PASSWORD": "secret",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        "MLFLOW_S3_ENDPOINT_URL": "https://s3",
        "TRAINING_SEED": "1",
    }
    environ = {**kept, "MLFLOW_RUN_ID": "0123abcd", "_MLFLOW_ACTIVE_MODEL_ID": "m-1", "MLFLOW_NEW_IN_3_18": "1"}

    ignore_redirections(environ)

    assert kept == environ
    said = capsys.readouterr().err
    assert said.startswith("warning: MLFLOW_NEW_IN_3_18, MLFLOW_RUN_ID, _MLFLOW_ACTIVE_MODEL_ID: ignored")
    assert "0123abcd" not in said


def test_nothing_is_said_where_there_is_nothing_to_ignore(capsys: pytest.CaptureFixture[str]) -> None:
    ignore_redirections({"MLFLOW_TRACKING_URI": "https://mlflow"})

    assert ("", "") == capsys.readouterr()
