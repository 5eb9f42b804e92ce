"""Reports show what customers and clients wrote as text: a browser and a terminal do nothing with it."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from prometheus_client import CollectorRegistry

from artefacts.process.tables import table_lines
from jobs.errors import JobError
from jobs.metrics_file import write_metrics
from jobs.reports.charts import Axis, Curve, Estimates, Interval, Series, columns, curves, intervals, stacked_rows
from jobs.reports.files import write_report
from jobs.reports.pages import environment, render

HOSTILE = "<script>x()</script>\x1b[2J\u202e'\"&"
SHOWN = "&lt;script&gt;x()&lt;/script&gt;\\x1b[2J\\u202e&#39;&#34;&amp;"
PARTS = (
    '{% extends "page.html" %}{% from "parts.html" import bullet_list, figure, table %}'
    "{% block title %}{{ hostile }}{% endblock %}{% block outcome %}{{ hostile }}{% endblock %}"
    "{% block content %}<p>{{ hostile }}</p>{{ bullet_list(hostile, [hostile]) }}"
    "{{ table(hostile, [hostile], [[hostile, 1.5, none]]) }}{% for chart in charts %}{{ figure(chart) }}{% endfor %}"
    "{% endblock %}"
)
PAGES = ("skew.html", "drift.html", "live_quality.html", "compare_live.html")


def test_a_page_escapes_every_text() -> None:
    whole = environment().from_string(PARTS).render(hostile=HOSTILE, charts=[])

    assert 9 == whole.count(SHOWN)
    assert not set("\x1b\u202e") & set(whole)
    assert "<script" not in whole


def test_a_chart_escapes_every_text() -> None:
    axis = Axis(HOSTILE)
    charts = [
        columns(HOSTILE, [HOSTILE], [Series(HOSTILE, [1.0]), Series(HOSTILE, [2.0])], HOSTILE, axis),
        stacked_rows(HOSTILE, [HOSTILE], [Series(HOSTILE, [1.0]), Series(HOSTILE, [2.0])], axis),
        intervals(HOSTILE, [HOSTILE], [Estimates(HOSTILE, [Interval(1, 0, 2)], 3)], HOSTILE, axis),
        curves(HOSTILE, [Curve(HOSTILE, [(0, 0), (1, 1)])], axis, axis),
    ]

    whole = environment().from_string(PARTS).render(hostile="", charts=charts)

    assert not set("\x1b\u202e") & set(whole)
    assert {"svg", "line", "rect", "circle", "text", "title"} < set(_tags(whole))
    assert "script" not in _tags(whole)
    assert {"aria-label", "role"} < set(_attributes(whole, "svg"))
    assert not [
        name for tag in ("svg", "rect", "circle", "text", "line") for name in _attributes(whole, tag) if "x()" in name
    ]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_nothing(page: str) -> None:
    loader = environment().loader
    assert loader is not None
    names = (page, "page.html", "page.css", "parts.html")
    text = "".join(loader.get_source(environment(), name)[0] for name in names)

    assert not re.search(r"https?:|src=|href=|url\(|@import|<script|<link", text)


def test_a_value_that_a_page_lacks_is_an_error_not_a_gap() -> None:
    with pytest.raises(UndefinedError, match="report"):
        render("live_quality.html", {})


def test_parts_without_content_leave_no_title() -> None:
    text = environment().from_string(
        '{% from "parts.html" import bullet_list, figure, table %}'
        "{{ bullet_list('a', []) }}{{ table('b', ['head'], []) }}{{ figure(none) }}"
    )

    assert "" == text.render().strip()


def test_a_report_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(JobError, match="file/out: the report cannot be written: Not a directory"):
        write_report(tmp_path / "file" / "out", "name", {}, {})


def test_metrics_of_several_use_cases_fit_into_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's node exporter reads a single one, and fails if two files hold the same series."""
    monkeypatch.setenv("JOBS_METRICS_DIR", str(tmp_path / "metrics"))
    for use_case in ("training/churn", "use_cases/household_spend", "use_cases/next_department"):
        monkeypatch.setenv("USE_CASE", use_case)
        write_report(tmp_path / "out", "drift", {}, {}, CollectorRegistry())
        write_metrics(CollectorRegistry(), tmp_path / "out", "materialize", of_features=True)

    reports = {f"{case}.drift.prom" for case in ("churn", "household_spend", "next_department")}
    of_features = {"churn.materialize.prom", "household_spend.materialize.prom"}
    assert reports | of_features == {file.name for file in (tmp_path / "metrics").iterdir()}
    assert ["drift.json"] == [file.name for file in (tmp_path / "out").iterdir()]


def test_a_table_of_text_shows_a_line_for_a_row() -> None:
    assert ["id            n", "a\\nb\\x1b[31m  1"] == list(table_lines([("id", "n"), ("a\nb\x1b[31m", "1")]))


class _Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))


def _tags(html: str) -> list[str]:
    return [tag for tag, _ in _Elements(html).found]


def _attributes(html: str, wanted: str) -> Iterator[str]:
    return (name for tag, attributes in _Elements(html).found if tag == wanted for name, _ in attributes)
