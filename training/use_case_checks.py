"""Checks a use case against itself and the feature registry before a row is read."""

import difflib
import re
from collections.abc import Collection, Iterator

from contract import FeatureSchema, outputs_of
from contract.model_contract import EVERYONE
from contract.tasks import RESERVED_JOIN_KEYS, RESERVED_OUTPUTS
from scoring.evaluation import LabelsError, metrics_of
from training.errors import UseCaseError
from training.settings import TrainingSettings
from training.use_case import ByCategory, ByFeature, Candidate, Regression, UseCase

_NAME = re.compile(r"[A-Za-z0-9_]+")


def check_before_reading(case: UseCase, schema: FeatureSchema, settings: TrainingSettings, fits: bool = True) -> None:
    """Check what a use case says.

    Args:
        fits: its candidates are needed; False for a model that was trained elsewhere.

    Raises:
        UseCaseError: the first member that is wrong, by name.
    """
    for said in _mistakes(case, schema, settings):
        raise UseCaseError(f"use case {case.name!r}: {said}")
    for said in _of_candidates(case, settings.seed) if fits else ():
        raise UseCaseError(f"use case {case.name!r}: {said}")


def _mistakes(case: UseCase, schema: FeatureSchema, settings: TrainingSettings) -> Iterator[str]:
    inputs = {feature.name for feature in schema.features}
    for what, name in _names(case):
        if not _NAME.fullmatch(name):
            yield f"{what}: {name!r} is no name for metrics; use letters, digits and _"

    def no_feature(name: str) -> str:
        return f"{name!r} is not a feature of {schema.feature_service!r}; {_nearest(name, inputs)}"

    yield from _of_task(case, schema)
    categories = {feature.name for feature in schema.features if feature.kind == "categorical"}
    if case.baseline.feature is not None and case.baseline.feature not in inputs:
        yield f"baseline: {no_feature(case.baseline.feature)}"
    yield from _of_baseline(case, categories)
    for name, population in case.populations.items():
        if population.feature not in inputs:
            yield f"populations[{name!r}]: {no_feature(population.feature)}"
        if population.feature in categories:
            yield f"populations[{name!r}]: {population.feature!r} is a category; only a number has bounds"
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
        feature, *edges = description.split(":")
        if feature not in inputs:
            yield f"segments: {no_feature(feature)}"
        if edges and feature in categories:
            yield f"segments: {feature!r} is a category; without numbers, each of its values is a segment"
    if case.age_feature is not None and case.age_feature not in inputs:
        yield f"age_feature: {no_feature(case.age_feature)}"
    if case.age_feature in categories:
        yield f"age_feature: {case.age_feature!r} is a category; an age is a number"


def _of_baseline(case: UseCase, categories: Collection[str]) -> Iterator[str]:
    feature, is_category = case.baseline.feature, case.baseline.feature in categories
    if isinstance(case.baseline, ByFeature) and is_category:
        yield f"baseline: {feature!r} is a category, whose codes have no order; take ByCategory"
    if isinstance(case.baseline, ByCategory) and not is_category:
        yield f"baseline: {feature!r} is a number; take ByFeature, or tag the feature kind=category"


def _of_candidates(case: UseCase, seed: int) -> Iterator[str]:
    if not case.candidates:
        yield "candidates: there is none"
    for name, candidate in case.candidates.items():
        yield from _of_candidate(name, candidate, seed, case)


def _nearest(name: str, inputs: Collection[str]) -> str:
    """The features that may be meant; a name without its view is taken for the whole."""
    whole = [each for each in sorted(inputs) if each.endswith(f"__{name}")]
    found = whole or difflib.get_close_matches(name, sorted(inputs), n=3)
    return f"perhaps {', '.join(found)}" if found else f"it has {', '.join(sorted(inputs)[:5])} and others"


def _names(case: UseCase) -> Iterator[tuple[str, str]]:
    """Member → name that is part of a metric's name."""
    yield "baseline", case.baseline.name
    yield from ((f"populations[{name!r}]", name) for name in case.populations)
    yield from ((f"candidates[{name!r}]", name) for name in case.candidates)


def _of_task(case: UseCase, schema: FeatureSchema) -> Iterator[str]:
    keys = {key.join_key for key in schema.entity_keys}
    yield from (f"entity: a join key cannot have the name {name!r}" for name in sorted(keys & RESERVED_JOIN_KEYS))
    taken = keys | RESERVED_OUTPUTS
    if not case.task.target.isidentifier() or not case.task.target.isascii():
        yield f"task: target {case.task.target!r} is no name; use letters, digits and _"
    for output in outputs_of(case.task.kind, "target"):
        name = output.name.replace("target", case.task.target)
        if name in taken:
            yield f"task: an answer's member would be named {name!r}, which is taken; give the target another name"
    names: tuple[object, ...] = case.task.class_names  # nobody has checked the types yet
    if not all(isinstance(name, str) and name for name in names):
        yield f"task: classes: {names!r} are not all text; a class has a name"
    if len(set(names)) != len(names):
        yield "task: classes: a class is listed twice"
    if case.task.kind == "multiclass" and len(names) < 2:
        yield "task: classes: at least two are needed"
    if case.task.kind == "binary" and len(names) != 2:
        yield f"task: classes: {len(names)} are listed; a binary task has two, the negative one first"
    if isinstance(case.task, Regression):
        low, high = case.task.at_least, case.task.at_most
        if low is not None and high is not None and not low < high:
            yield f"task: at_least: {low:g} is not below at_most, {high:g}"


def _of_candidate(name: str, candidate: Candidate, seed: int, case: UseCase) -> Iterator[str]:
    try:
        made = candidate(seed)
    except Exception as error:  # whatever the user's code raises
        said = (str(error).splitlines() or [""])[0]
        yield f"candidates[{name!r}]: a call with the seed raised {type(error).__name__}: {said}"
        return
    if not callable(getattr(made, "fit", None)):
        yield f"candidates[{name!r}]: it makes a {type(made).__name__}, which is no estimator of scikit-learn"
        return
    if not hasattr(made, case.task.method):
        steps = getattr(made, "steps", None)
        last = type(steps[-1][1] if steps else made).__name__
        needed = f"{case.task.method}, which a {case.task.kind} model needs"
        yield f"candidates[{name!r}]: {last} has no {needed}; wrap it, or take an estimator that has it"
