"""HTTP, batch, Spark and stream say the same of the same customers at the same time."""

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.offline_store.builds import read_build
from tests.loop import SOURCE, Loop
from tests.servers.spark import needs_spark

CUSTOMERS = 2_000
DAYS_BEFORE_THE_END = 468  # in CDNOW's first twelve weeks, when every day brings new customers
FRESH, PAST_THE_TTL = "0 h", "72 h"


@pytest.fixture(scope="module")
def compared(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `tests.planes` finds with the champion of the loop."""
    var = loop.root / "var"
    end = datetime.fromisoformat(read_build(var / "offline_store").observed_until)
    command = [
        sys.executable,
        *("-m", "tests.planes"),
        *("--folder", str(tmp_path_factory.mktemp("planes"))),
        *("--day", f"{end - timedelta(days=DAYS_BEFORE_THE_END):%Y-%m-%d}"),
        *("--customers", str(CUSTOMERS)),
    ]
    environment = {
        **loop.environment,
        "ORDERS_PATH": str(var / "data" / "orders.parquet"),
        "MODEL_TAG_PATH": str(var / "model_tag"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{var / 'mlflow' / 'mlflow.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@needs_spark
@pytest.mark.parametrize("at", [FRESH, PAST_THE_TTL])
def test_every_plane_gives_every_customer_the_same_row(compared: dict[str, Any], at: str) -> None:
    for plane, rows in (("batch", CUSTOMERS), ("spark", CUSTOMERS), ("stream", CUSTOMERS)):
        found = compared[at][plane]
        assert 0 == found["differing"], f"{plane}: {found}"
        assert rows <= found["rows"]
        assert found["largest"] <= 1e-6


@needs_spark
def test_unknown_new_stale_and_overridden_are_among_them(compared: dict[str, Any]) -> None:
    """Who is new on that day lacks nothing in any plane."""
    assert {"ok", "degraded", "unknown_customer"} == compared[FRESH]["statuses"].keys()
    assert {"overridden": compared[FRESH]["statuses"]["degraded"]} == compared[FRESH]["states"]
    assert {"overridden", "stale"} == compared[PAST_THE_TTL]["states"].keys()
    assert compared["new"] > 100


@needs_spark
@pytest.mark.parametrize("at", [FRESH, PAST_THE_TTL])
def test_a_plane_that_is_a_day_off_is_found_out(compared: dict[str, Any], at: str) -> None:
    assert CUSTOMERS / 2 < compared[at]["a day off"]["differing"]
