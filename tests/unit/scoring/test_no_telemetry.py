"""What libraries would tell their makers is off."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scoring.no_telemetry import OFF

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("room", ["scoring", "jobs", "training", "service", "benchmarks", "tests"])
def test_it_is_off_before_a_library_is_loaded_whatever_the_environment_says(room: str) -> None:
    made = (
        f"import sys, {room}; loud = sorted({{'bentoml', 'mlflow', 'onnxruntime'}} & sys.modules.keys()); "
        f"import os; print(loud, [os.environ.get(name) for name in {list(OFF)}])"
    )
    environment = {"PATH": os.environ["PATH"], **dict.fromkeys(OFF, "False")}

    done = subprocess.run([sys.executable, "-c", made], cwd=ROOT, env=environment, capture_output=True, text=True)

    assert f"[] {list(OFF.values())}\n" == done.stdout, done.stderr


@pytest.mark.parametrize("file", ["Makefile", "deploy/image/Containerfile", "deploy/image/Containerfile.jobs"])
def test_images_and_makefile_set_the_same_for_commands_that_load_none_of_our_rooms(file: str) -> None:
    said = dict(re.findall(r"^\s*(?:export |ENV )?(\w+) ?:?=\s?(\w+)", (ROOT / file).read_text(), re.MULTILINE))

    assert {name: said.get(name) for name in OFF} == OFF


@pytest.mark.parametrize("off", ["BENTOML_DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"])
def test_the_libraries_follow_what_is_set(off: str) -> None:
    asked = {
        "BENTOML_DO_NOT_TRACK": "from bentoml._internal.utils.analytics.usage_stats import do_not_track as off",
        "MLFLOW_DISABLE_TELEMETRY": "from mlflow.telemetry.utils import is_telemetry_disabled as off",
    }[off]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    made = f"import warnings; warnings.simplefilter('ignore'); import scoring; {asked}; print(off())"

    done = subprocess.run([sys.executable, "-c", made], cwd=ROOT, env=environment, capture_output=True, text=True)

    assert "True" == done.stdout.strip(), done.stderr
