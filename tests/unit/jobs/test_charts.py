"""Charts show the values they are given, inside their axes, and say them in words."""

import pytest

from jobs.reports.charts import (
    Axis,
    Curve,
    Estimates,
    Interval,
    Series,
    columns,
    curves,
    intervals,
    stacked_rows,
)
from jobs.reports.shapes import Chart

SHARE = Axis("share of rows, %", percent=True)
DAYS = ["2026-01-30", "2026-01-31"]


def ticks(chart: Chart) -> list[str]:
    return [words.text for words in chart.words if words.anchor == "end" and not words.turn]


def test_columns_are_as_tall_as_their_values() -> None:
    chart = columns("t", DAYS, [Series("a", [0.1, 0.2]), Series("b", [0.4, None])], "day", SHARE)

    low, double, high = chart.bars
    assert (2 * low.height, 4 * low.height) == pytest.approx((double.height, high.height))
    assert low.y + low.height == pytest.approx(high.y + high.height)
    assert low.x + low.width == pytest.approx(high.x)
    assert ["2026-01-30, a: 10%", "2026-01-31, a: 20%", "2026-01-30, b: 40%"] == [bar.label for bar in chart.bars]
    assert ["0%", "10%", "20%", "30%", "40%"] == ticks(chart)


def test_stacked_columns_stand_on_each_other() -> None:
    chart = columns("t", DAYS, [Series("a", [0.1, 0.2]), Series("b", [0.3, 0.1])], "day", SHARE, stacked=True)

    below, _, above, _ = chart.bars
    assert above.y + above.height == pytest.approx(below.y)
    assert above.x == below.x


def test_rows_are_as_long_as_the_sum_of_their_parts() -> None:
    chart = stacked_rows("t", ["x", "y"], [Series("a", [0.1, 0.2]), Series("b", [0.3, 0.2])], SHARE)

    first, second, *_ = chart.bars
    assert first.x + first.width == pytest.approx(second.x)
    assert 3 * first.width == pytest.approx(second.width)


def test_an_interval_holds_its_estimate_and_is_compared_with_the_reference() -> None:
    chart = intervals("t", DAYS, [Estimates("m", [Interval(0.8, 0.7, 0.85), None], 0.9)], "day", Axis("ROC AUC"))

    (interval,) = (line for line in chart.lines if line.kind == "interval")
    (reference,) = (line for line in chart.lines if line.kind == "reference")
    (dot,) = chart.dots
    assert reference.y1 < interval.y2 < dot.y < interval.y1
    assert "2026-01-30, m: 0.8 [0.7, 0.85]" == dot.label
    assert "ROC AUC by day. m: 2026-01-30 0.8. m is compared with 0.9." == chart.summary


def test_a_calibrated_model_lies_on_the_diagonal() -> None:
    chart = curves("t", [Curve("m", [(0.2, 0.2), (0.6, 0.6)])], SHARE, SHARE)

    (diagonal,) = (line for line in chart.lines if line.kind == "diagonal")
    for dot in chart.dots:
        along = (dot.x - diagonal.x1) / (diagonal.x2 - diagonal.x1)
        assert diagonal.y1 + along * (diagonal.y2 - diagonal.y1) == pytest.approx(dot.y)


def test_curves_of_values_span_both_axes_alike_so_that_the_diagonal_is_where_they_are_equal() -> None:
    chart = curves("t", [Curve("m", [(-20.0, 35.0), (120.0, 80.0)])], Axis("predicted"), Axis("observed"))

    (diagonal,) = (line for line in chart.lines if line.kind == "diagonal")
    first, second = chart.dots
    assert {"-50", "0", "50", "100", "150"} <= set(ticks(chart))
    assert first.y < diagonal.y1 + (first.x - diagonal.x1) / (diagonal.x2 - diagonal.x1) * (diagonal.y2 - diagonal.y1)
    assert second.y > diagonal.y1 + (second.x - diagonal.x1) / (diagonal.x2 - diagonal.x1) * (diagonal.y2 - diagonal.y1)


@pytest.mark.parametrize("count", [1, 2, 30, 400])
@pytest.mark.parametrize("label", ["a", "0.00012 … 12345.67"])
def test_everything_stays_inside_the_chart(count: int, label: str) -> None:
    categories = [f"{label}{n}" for n in range(count)]
    shares = [(n % 7) / 7 for n in range(count)]
    estimates = [Interval(share, share - 0.1, share + 0.1) for share in shares]
    charts = [
        columns("t", categories, [Series("a", shares), Series("b", shares)], "x", SHARE),
        columns("t", categories, [Series("a", shares), Series("b", shares)], "x", SHARE, stacked=True),
        stacked_rows("t", categories, [Series("a", shares)], SHARE),
        intervals("t", categories, [Estimates("a", estimates, 1.0), Estimates("b", estimates)], "x", SHARE),
    ]

    for chart in charts:
        for bar in chart.bars:
            assert 0 <= bar.x <= bar.x + bar.width <= chart.width
            assert 0 <= bar.y <= bar.y + bar.height <= chart.height
        for line in chart.lines:
            assert 0 <= min(line.x1, line.x2) <= max(line.x1, line.x2) <= chart.width
            assert 0 <= min(line.y1, line.y2) <= max(line.y1, line.y2) <= chart.height


@pytest.mark.parametrize("values", [[], [0.0], [None]])
def test_a_chart_without_anything_to_draw_still_has_axes(values: list[float | None]) -> None:
    chart = columns("t", ["a"] * len(values), [Series("s", values)], "x", SHARE)

    assert [] == chart.bars
    assert 2 <= len(ticks(chart))


def test_of_many_values_the_range_is_told() -> None:
    days = [f"day {n}" for n in range(100)]

    chart = columns("t", days, [Series("a", [n / 100 for n in range(100)])], "day", SHARE)

    assert "share of rows, % by day. a: from 0% (day 0) to 99% (day 99)." == chart.summary
