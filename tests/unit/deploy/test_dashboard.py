"""Rules, dashboard and runbook say the same as what the service and the jobs expose, and as each other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from deploy.grafana.dashboard import FILE, dashboard
from jobs.skew.findings import FAULTS
from tests.exposed_metrics import OF_TARGETS, Exposed, objection, of_jobs, of_service
from tests.loop import SOURCE
from tests.promql import grouped, selectors

DEPLOY = SOURCE / "deploy"
RULES = [
    rule
    for file in ("rules.yaml", "old_names.yaml")
    for group in yaml.safe_load((DEPLOY / "prometheus" / file).read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
OPERATIONS = SOURCE / "docs" / "operations"
RUNBOOKS = {name: (OPERATIONS / name).read_text() for name in ("runbook-service.md", "runbook-jobs.md")}
RUNBOOK = "\n".join(RUNBOOKS.values())
UNITS = {"none", "s", "reqps", "cps", "percentunit"}
"""Those of Grafana's that are used here: https://github.com/grafana/grafana, valueFormats/categories.ts."""


class Query(NamedTuple):
    """PromQL, and the words in which labels of its result are shown."""

    where: str
    promql: str
    shown: str


def queries() -> Iterator[Query]:
    for rule in RULES:
        yield Query(rule.get("alert") or rule["record"], rule["expr"], " ".join(rule.get("annotations", {}).values()))
    for panel in PANELS:
        for target in panel["targets"]:
            yield Query(panel["title"], target["expr"], target["legendFormat"])


def recorded() -> dict[str, Exposed]:
    """What the recording rules add. Their names begin with their labels: `level:metric:operations`."""
    level = {
        rule["record"]: rule["record"].partition(":")[0].split("_") for rule in RULES if ":" in rule.get("record", "")
    }
    return {name: Exposed("gauge", labels) for name, labels in level.items()}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exposed]:
    own = {
        "up": Exposed("gauge", []),
        "ALERTS": Exposed("gauge", ["alertname", "alertstate", "severity"]),
    }
    return of_service() | of_jobs(tmp_path_factory.mktemp("jobs")) | recorded() | own


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: f"{query.where}: {query.promql[:60]}")
def test_a_query_names_only_metrics_labels_and_values_that_exist(query: Query, known: dict[str, Exposed]) -> None:
    used = list(selectors(query.promql))
    objections = [
        said
        for selector in used
        for said in (
            objection(known, selector.metric),
            *(objection(known, selector.metric, matcher.label, matcher.values) for matcher in selector.matchers),
        )
        if said
    ]

    assert used
    assert [] == objections
    made = set(re.findall(r'"(name|project|view|report)"', query.promql))  # by label_replace
    assert grouped(query.promql) <= _labels(query, known) | {*OF_TARGETS, "le"} | made


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: f"{query.where}: {query.promql[:60]}")
def test_a_label_that_is_shown_is_one_of_the_result(query: Query, known: dict[str, Exposed]) -> None:
    shown = set(re.findall(r"\{\{ *(?:\$labels\.)?(\w+) *\}\}", query.shown))
    kept = grouped(query.promql)
    if not re.search(r"\bby *\(", query.promql):
        kept |= {*OF_TARGETS, *_labels(query, known)}

    assert shown <= kept


def _labels(query: Query, known: dict[str, Exposed]) -> set[str]:
    """Of all metrics that a query names."""
    return {label for selector in selectors(query.promql) for label in known[_base(selector.metric, known)].labels}


def _base(metric: str, known: dict[str, Exposed]) -> str:
    return metric if metric in known else re.sub(r"_(bucket|sum|count)$", "", metric)


def test_everything_that_the_service_exposes_is_watched_or_drawn() -> None:
    used = {_base(selector.metric, of_service()) for query in queries() for selector in selectors(query.promql)}

    assert set() == of_service().keys() - used


def test_everything_that_had_an_old_name_is_still_found_by_it(known: dict[str, Exposed]) -> None:
    """A counter's name ends in _total, and a histogram is three series."""
    old = {
        _base(selector.metric, known)
        for rule in RULES
        if "record" in rule and re.search(r"\bchurn_|^churn", rule["record"])
        for selector in selectors(rule["expr"])
    }

    new = {  # made after the old names
        *("model_service_online_store_errors_total", "model_service_model_runtime_info"),
        *("model_service_quota_total", "model_service_quota_limit"),
    }
    assert new == known.keys() - old - {"up", "ALERTS"} - {name for name in recorded() if "churn_" in name}


def test_a_name_that_nothing_exposes_is_objected_to(known: dict[str, Exposed]) -> None:
    """What the tests above rest on can fail."""
    assert "nothing exposes model_service_request_total" == objection(known, "model_service_request_total")
    assert "nothing exposes model_service_breaker_open_sum" == objection(known, "model_service_breaker_open_sum")
    assert "model_service_breaker_open has no label view" == objection(known, "model_service_breaker_open", "view")
    assert "outcome of model_service_requests_total is never lost" == objection(
        known, "model_service_requests_total", "outcome", ["ok", "lost"]
    )
    assert "le of model_service_request_seconds_bucket is never 0.06" == objection(
        known, "model_service_request_seconds_bucket", "le", ["0.06"]
    )


def test_the_objective_counts_the_faults_that_the_page_of_metrics_names() -> None:
    page = (SOURCE / "docs" / "metrics.md").read_text()
    counted = {
        matcher
        for rule in RULES
        if rule.get("record", "").startswith("job_model:model_service_faults:")
        for matcher in re.findall(r"\{.*?\}", rule["expr"])
    }

    assert 2 == len(counted)
    assert counted <= set(re.findall(r"\{.*?\}", page))


def test_the_alert_of_skew_is_about_the_classes_that_are_faults() -> None:
    (expr,) = (rule["expr"] for rule in ALERTS if rule["alert"] == "ModelJobsSkewFault")

    assert [*FAULTS] == re.findall(r'class=~"(.*?)"', expr)[0].split("|")


def test_the_dashboard_that_grafana_reads_is_made_of_the_panels() -> None:
    assert dashboard() == json.loads(FILE.read_text()), "run `make generated`"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert len(panel["title"]) > 2
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= own
    assert len(PANELS) == len({panel["title"] for panel in PANELS})


def test_grafana_is_given_the_source_and_the_folder_that_the_dashboard_needs() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "model-service.yaml").read_text())["providers"]

    assert ("prometheus", True) == (source["type"], source["isDefault"])
    assert ("file", False) == (provider["type"], provider["allowUiUpdates"])
    assert Path(provider["options"]["path"]).is_absolute()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    (page,) = (name for name, text in RUNBOOKS.items() if f"## {rule['alert']}\n" in text)
    assert f"docs/operations/{page}#{rule['alert'].lower()}" == rule["annotations"]["runbook_url"]


def test_every_alert_has_an_entry_in_the_runbook_and_every_entry_an_alert() -> None:
    entries = re.findall(r"^## (Model\w+)$", RUNBOOK, re.MULTILINE)

    assert [rule["alert"] for rule in ALERTS] == entries


@pytest.mark.parametrize("entry", re.split(r"^## (?=Model)", RUNBOOK, flags=re.MULTILINE)[1:])
def test_an_entry_says_what_it_means_where_to_look_how_to_mend_and_when_it_is_well(entry: str) -> None:
    assert ["For users", "Look first", "Mend", "Well again"] == re.findall(r"^- \*\*([^*]+):\*\*", entry, re.MULTILINE)


def test_a_command_that_the_runbook_gives_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (SOURCE / "Makefile").read_text(), re.MULTILINE))
    given = re.findall(r"`make ([a-z-]+)", RUNBOOK)

    assert given
    assert set(given) <= targets


def test_a_file_or_setting_that_the_runbook_names_exists() -> None:
    settings = (SOURCE / "docs" / "settings.md").read_text()
    linked = re.findall(r"\]\(([^)#]+)[^)]*\)", RUNBOOK)

    assert [] == [link for link in linked if not (OPERATIONS / link).exists()]
    assert [] == [name for name in re.findall(r"\b(?:SERVICE|JOBS)_[A-Z_]+", RUNBOOK) if f"`{name}`" not in settings]
