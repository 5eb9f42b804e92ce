"""What deploy/ gives to Prometheus and Alertmanager is what they take; their own tools test every rule."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.loop import SOURCE
from tests.servers.monitoring import ALERTMANAGER, PROMETHEUS, needs_prometheus

pytestmark = needs_prometheus

UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))
DASHBOARD = SOURCE / "deploy" / "grafana" / "dashboards" / "model-service.json"


def run(*command: str | Path) -> str:
    """What it printed, after it ended well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def rules_of(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def rules() -> list[dict[str, Any]]:
    return rules_of("rules.yaml")


def test_prometheus_takes_its_configuration_and_the_rules() -> None:
    said = run("promtool", "check", "config", PROMETHEUS / "prometheus.yaml")

    for found in (rules(), rules_of("old_names.yaml")):
        assert f"SUCCESS: {len(found)} rules found" in said


def test_alertmanager_takes_its_configuration() -> None:
    assert "SUCCESS" in run("amtool", "check-config", ALERTMANAGER)


def test_alertmanager_tells_the_same_people_of_whatever_fires() -> None:
    for severity in ("critical", "warning"):
        routed = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}")
        assert "people" == routed.strip()


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_alerts_fire_beyond_their_bounds_only(file: Path) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", file)


def test_an_old_name_gives_what_the_new_one_gives_with_all_labels(tmp_path: Path) -> None:
    """Those that are a copy of one series; tests/old_names.yaml has the others."""
    copies = [rule for rule in rules_of("old_names.yaml") if re.fullmatch(r"[\w:]+", rule["expr"])]
    labels = '{call="predict",job="model-service",le="0.05",model="spend"}'
    test = {
        "interval": "1m",
        "input_series": [{"series": rule["expr"] + labels, "values": str(n)} for n, rule in enumerate(copies)],
        "promql_expr_test": [
            {
                "expr": rule["record"],
                "eval_time": "0m",
                "exp_samples": [{"labels": rule["record"] + labels, "value": n}],
            }
            for n, rule in enumerate(copies)
        ],
    }
    file = tmp_path / "copies.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(PROMETHEUS / "old_names.yaml")], "tests": [test]}))

    assert len(copies) > 50
    assert "SUCCESS" in run("promtool", "test", "rules", file)


def test_every_alert_is_seen_to_be_quiet_to_fire_and_to_end() -> None:
    seen: dict[str, list[str]] = {}
    for test in (test for file in UNIT_TESTS for test in yaml.safe_load(file.read_text())["tests"]):
        states: dict[str, str] = {}
        for check in test.get("alert_rule_test", []):
            states.setdefault(check["alertname"], "")
            states[check["alertname"]] += "!" if check["exp_alerts"] else "."
        for alert, history in states.items():
            seen.setdefault(alert, []).append(history)

    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert alerts == seen.keys()
    assert [] == [alert for alert in alerts if ".!." not in seen[alert]]


def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = [
        target["expr"].replace("$__rate_interval", "1m")
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    recording = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recording}]}))

    assert f"SUCCESS: {len(queries)} rules found" in run("promtool", "check", "rules", tmp_path / "panels.yaml")
