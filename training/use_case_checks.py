"""Checks a use case against itself and the feature registry before a row is read."""

from collections.abc import Iterator

from contract import FeatureSchema, outputs_of
from contract.model_contract import EVERYONE
from contract.tasks import RESERVED_NAMES
from scoring.evaluation import LabelsError, metrics_of
from training.errors import UseCaseError
from training.settings import TrainingSettings
from training.use_case import UseCase


def check_before_reading(case: UseCase, schema: FeatureSchema, settings: TrainingSettings) -> None:
    """Check what a use case says.

    Raises:
        UseCaseError: the first member that is wrong, by name.
    """
    for said in _mistakes(case, schema, settings):
        raise UseCaseError(f"use case {case.name!r}: {said}")


def _mistakes(case: UseCase, schema: FeatureSchema, settings: TrainingSettings) -> Iterator[str]:
    inputs = {feature.name for feature in schema.features}
    offered = f"is not a feature of {schema.feature_service!r}"
    yield from _of_task(case, schema)
    if case.baseline.feature not in inputs:
        yield f"baseline: {case.baseline.feature!r} {offered}"
    for name, population in case.populations.items():
        if population.feature not in inputs:
            yield f"populations[{name!r}]: {population.feature!r} {offered}"
    if EVERYONE in case.populations:
        yield f"populations[{EVERYONE!r}]: the name is taken by all rows"
    judged, metric = case.judged_by
    if judged not in (EVERYONE, *case.populations):
        yield f"headline: {judged!r} is not a population"
    try:
        better = metrics_of(case.task.kind).metric(metric).higher_is_better
    except LabelsError as error:
        yield f"headline: {error}"
    else:
        if better is None:
            yield f"headline: {metric!r} has no better side, so no model can be chosen by it"
        elif metric not in metrics_of(case.task.kind).for_baseline:
            yield f"headline: {metric!r} is not defined for the baseline's scores"
    for description in settings.segments.split():
        if (feature := description.split(":")[0]) not in inputs:
            yield f"segments: {feature!r} {offered}"
    if case.age_feature is not None and case.age_feature not in inputs:
        yield f"age_feature: {case.age_feature!r} {offered}"
    if not case.candidates:
        yield "candidates: there is none"
    for name, candidate in case.candidates.items():
        yield from _of_candidate(name, candidate(settings.seed), case)


def _of_task(case: UseCase, schema: FeatureSchema) -> Iterator[str]:
    taken = RESERVED_NAMES | {key.join_key for key in schema.entity_keys}
    if not case.task.target.isidentifier() or not case.task.target.isascii():
        yield f"task: target {case.task.target!r} is no name; use letters, digits and _"
    for output in outputs_of(case.task.kind, "target"):
        name = output.name.replace("target", case.task.target)
        if name in taken:
            yield f"task: an answer's member would be named {name!r}, which is taken; give the target another name"
    names = case.task.class_names
    if len(set(names)) != len(names):
        yield "task: classes: a class is listed twice"
    if case.task.kind == "multiclass" and len(names) < 2:
        yield "task: classes: at least two are needed"


def _of_candidate(name: str, made: object, case: UseCase) -> Iterator[str]:
    if not callable(getattr(made, "fit", None)):
        yield f"candidates[{name!r}]: it makes a {type(made).__name__}, which is no estimator of scikit-learn"
        return
    if not hasattr(made, case.task.method):
        steps = getattr(made, "steps", None)
        last = type(steps[-1][1] if steps else made).__name__
        yield f"candidates[{name!r}]: {last} has no {case.task.method}, which a {case.task.kind} model needs"
