"""The running service against its own OpenAPI document: thousands of requests, those that fit it and those that do not.

tests/e2e/schemathesis.toml says what is sent, tests/e2e/openapi_hooks.py what is checked besides Schemathesis' own.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis

from tests.loop import SOURCE, Loop

SECONDS = 400
"""On two cores that do something else as well."""


def outcomes(loop: Loop) -> Counter[tuple[str, str]]:
    """Call, outcome → answers, as the service itself counts them."""
    counted: Counter[tuple[str, str]] = Counter()
    for line in str(loop.call("GET", "/metrics").body).splitlines():
        found = re.fullmatch(r'model_service_requests_total\{call="(.*)",client=".*",outcome="(.*)"\} (.*)', line)
        if found:
            counted[found[1], found[2]] += int(float(found[3]))
    return counted


@dataclass(frozen=True)
class Run:
    """A run of Schemathesis: what it printed, its report, and what the service counted meanwhile."""

    output: str
    report: dict[str, Any]
    outcomes: Counter[tuple[str, str]]


@pytest.fixture(scope="module")
def run(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Run:
    report = tmp_path_factory.mktemp("schemathesis") / "report.json"
    before = outcomes(loop)
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", "tests/e2e/schemathesis.toml"),
            *("run", f"{loop.url}/docs.json", "--no-color", "--report", "json", "--report-json-path", str(report)),
        ],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    shown = "\n".join(line[:500] for line in (done.stdout + done.stderr).splitlines())
    assert report.exists(), shown
    assert report.read_text(), f"ended with {done.returncode} before its report:\n{shown}"
    return Run(shown, json.loads(report.read_text()), outcomes(loop) - before)


def test_the_document_is_valid_openapi(loop: Loop) -> None:
    """By the specification's own schema, which Schemathesis carries."""
    schemathesis.openapi.from_dict(loop.call("GET", "/docs.json").body).validate()


def test_no_answer_contradicts_the_document(run: Run) -> None:
    assert ([], []) == (run.report["failures"], run.report["errors"]), run.output
    assert run.report["complete"]
    assert run.report["operations"]["selected"] == run.report["operations"]["tested"] == 9


def test_at_least_five_thousand_requests_were_sent(run: Run) -> None:
    assert run.report["test_cases"]["generated"] >= 5000
    assert run.outcomes.total() >= 5000


@pytest.mark.parametrize("call", ["predict", "predict_batch", "explain", "invocations", "model"])
def test_every_call_was_answered_and_refused_many_times(run: Run, call: str) -> None:
    """Otherwise the run says little: a service that refuses everything contradicts no document."""
    refused = "method_not_allowed" if call == "model" else "invalid_request"
    assert run.outcomes[call, "ok"] >= 100, run.outcomes
    assert run.outcomes[call, refused] >= 5, run.outcomes
    assert 0 == run.outcomes[call, "internal"]
