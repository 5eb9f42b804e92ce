"""The address of MLflow's registry: what is wrong with it is one line, and never tells the password in it."""

import pytest

from training.__main__ import main

PASSWORD = "s3cret-and-long"  # noqa: S105


@pytest.mark.parametrize("command", ["models", "import-model", "check-contracts"])
@pytest.mark.parametrize(
    "uri",
    [
        f"http://churn:{PASSWORD}@127.0.0.1:1",
        f"http://churn:{PASSWORD} x@127.0.0.1:1",
        f"https://{PASSWORD}@127.0.0.1:1",
        f"postgresql+nobodys_driver://churn:{PASSWORD}@127.0.0.1:1/mlflow",
        f"postgresql://churn:{PASSWORD}@127.0.0.1:1/mlflow",
        f"postgresql://churn:{PASSWORD}@[::1",
        f"nowhere://churn:{PASSWORD}@127.0.0.1",
    ],
)
def test_a_registry_that_cannot_be_opened_is_one_line_without_its_password(
    command: str, uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    assert 1 == main([command])
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith("error: the MLflow registry at ")
    assert "***" in line
    assert PASSWORD not in told.out + told.err


@pytest.mark.filterwarnings("ignore:Query string argument")
def test_a_registry_without_versions_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = tmp_path_factory.mktemp("empty") / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}?password={PASSWORD}")

    assert 0 == main(["models"])
    told = capsys.readouterr()
    assert f"registered in sqlite:///{database}?password=***" in told.out
    assert PASSWORD not in told.out + told.err
