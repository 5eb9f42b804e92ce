"""What the page shows of a model's answers over all weeks: calibration, errors and confused classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.quality.figures import ReportedFigures
from jobs.quality.judging import Judging
from jobs.reports.charts import Axis, Curve, Series, columns, curves
from jobs.reports.shapes import Chart
from scoring.evaluation import BINS, Floats, Labels


@dataclass(frozen=True)
class Calibration:
    """One model's answers to one population, over all weeks.

    points: (mean predicted, mean observed) of ten bins of equally many rows, by rising prediction.
    errors: mean |prediction − target| of these bins, of a regression.
    classes, confusion: of a multi-class model: their names, and rows by observed class and by the likeliest class.
    """

    model: str
    population: str
    points: tuple[tuple[float, float], ...]
    errors: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    confusion: Sequence[Sequence[int]] = ()


def calibration_of(model: str, population: str, judging: Judging, labels: Labels, scores: Floats) -> Calibration:
    """Of n ≥ `scoring.evaluation.BINS` rows."""
    confusion = judging.confusion(labels, scores)
    return Calibration(
        model=model,
        population=population,
        points=judging.table.calibration_points(labels, scores),
        errors=_errors(labels, scores) if judging.table.kind == "regression" else (),
        classes=judging.classes if confusion else (),
        confusion=confusion,
    )


def _errors(target: Floats, prediction: Floats) -> tuple[float, ...]:
    parts = np.array_split(np.argsort(prediction, kind="stable"), BINS)
    return tuple(float(np.abs(prediction[part] - target[part]).mean()) for part in parts)


def calibration_charts(found: Sequence[Calibration], reported: ReportedFigures) -> Iterator[Chart]:
    """The charts of each population."""
    for population in dict.fromkeys(one.population for one in found):
        own = [one for one in found if one.population == population]
        yield curves(
            f"Calibration, {population} rows, all weeks",
            [Curve(one.model, one.points) for one in own],
            reported.predicted,
            reported.observed,
        )
        errors = [Series(one.model, one.errors) for one in own if one.errors]
        if errors:
            yield columns(
                f"Error by decile of the prediction, {population} rows, all weeks",
                [str(decile + 1) for decile in range(BINS)],
                errors,
                "decile of the prediction, the lowest first",
                Axis("mean |prediction − target|"),
            )
        for one in own:
            if one.confusion:
                yield _class_chart(one)


def _class_chart(one: Calibration) -> Chart:
    counted = np.array(one.confusion)
    return columns(
        f"Classes of {one.model}, {one.population} rows, all weeks",
        one.classes,
        [
            Series("observed", counted.sum(axis=1).tolist()),
            Series("answered", counted.sum(axis=0).tolist()),
        ],
        "class",
        Axis("rows"),
    )


def confusion_tables(found: Sequence[Calibration]) -> Iterator[Mapping[str, object]]:
    """Title, heads and rows of a table for each multi-class model and population."""
    for one in found:
        if one.confusion:
            yield {
                "title": f"Observed and answered classes of {one.model}, {one.population} rows, all weeks",
                "heads": ("observed", *(f"answered {name}" for name in one.classes), "rows"),
                "rows": [
                    (name, *(f"{count:,}" for count in counts), f"{sum(counts):,}")
                    for name, counts in zip(one.classes, one.confusion, strict=True)
                ],
            }
