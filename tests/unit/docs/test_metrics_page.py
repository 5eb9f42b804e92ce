"""docs/metrics.md and service/telemetry/metrics.py say the same."""

import re
from pathlib import Path

from tests.exposed_metrics import error_codes, of_jobs, of_service
from tests.loop import SOURCE
from tests.unit.docs.pages import CURRENT, text_of

PAGE = (SOURCE / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(model_service_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def metrics() -> dict[str, tuple[str, list[str]]]:
    """Name as Prometheus sees it → type, labels."""
    return {name: (metric.kind, metric.labels) for name, metric in of_service().items()}


def test_the_page_has_every_metric_with_its_type_and_labels_and_no_other() -> None:
    shown = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels, _, _ in ROW.findall(PAGE)}

    assert metrics() == shown


def test_every_metric_says_what_it_means_and_what_to_do() -> None:
    rows = ROW.findall(PAGE)

    assert rows
    assert all(len(meaning) > 20 and len(action) > 20 for *_, meaning, action in rows)


def test_every_outcome_is_explained() -> None:
    section = PAGE.partition("## Outcomes")[2].partition("## PromQL")[0]
    shown = {
        word for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE) for word in re.findall(r"`(\w+)`", row)
    }
    assert {"ok", "cancelled", "internal"} | error_codes() == shown


def test_queries_name_metrics_labels_and_values_that_exist() -> None:
    known = metrics()
    queries = "\n".join(re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL))
    used = re.findall(r"(model_service_\w+)(?:\{([^}]*)\})?", queries)

    assert len(used) > 8
    for name, selector in used:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert base in known, name
        for label, value in re.findall(r'(\w+)[=!~]+"([^"]*)"', selector):
            assert label in known[base][1]
            assert all(f"`{word}`" in PAGE or word == "predict" for word in value.split("|")), value
    for label in re.findall(r"by \((\w+(?:, \w+)*)\)", queries):
        assert set(label.split(", ")) <= {"le"} | {name for _, labels in known.values() for name in labels}


def test_every_metric_of_the_jobs_is_on_some_page(tmp_path: Path) -> None:
    pages = "\n".join(text_of(name) for name in CURRENT)

    assert [] == [name for name in sorted(of_jobs(tmp_path)) if not re.search(rf"`{name}[`{{]", pages)]
