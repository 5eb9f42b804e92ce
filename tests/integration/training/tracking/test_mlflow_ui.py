"""`make mlflow-ui` says where MLflow's page will be, before the seconds that it takes to start."""

import os
from pathlib import Path

import pytest

from tests.loop import free_port
from training.__main__ import main


def test_the_address_is_said_before_mlflow_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port, started = str(free_port()), list[str]()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(os, "execv", lambda _, arguments: started.extend([capsys.readouterr().out, *arguments]))

    assert 0 == main(["mlflow-ui", "--ui-port", port])

    assert f"MLflow's page is on http://127.0.0.1:{port} in some ten seconds; Ctrl-C ends it\n" == started[0]
    assert port in started[1:]
