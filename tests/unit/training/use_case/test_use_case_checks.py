"""Each mistake of a use case is one sentence that names the member."""

from dataclasses import replace
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from contract import EntityKey, FeatureSchema, FeatureSpec, SourceView
from training.errors import UseCaseError
from training.settings import TrainingSettings
from training.tasks import Binary, Multiclass, Regression
from training.use_case import ByCategory, ByFeature, UseCase, at_most
from training.use_case_checks import check_before_reading

SCHEMA = FeatureSchema(
    project="shop",
    feature_service="shop_v1",
    entity_keys=(EntityKey(join_key="shopper_id", dtype="string"),),
    views=(SourceView(name="visits", ttl_seconds=None),),
    features=(FeatureSpec(name="visits__days", dtype="float32", view="visits", sources=("visits",)),),
    request_inputs=(),
    transformations={},
)
CASE = UseCase(
    name="shop",
    feature_service="shop_v1",
    task=Binary("buys", ("no", "yes")),
    labels=lambda _: pytest.fail("no row may be read"),
    candidates={"logistic": lambda seed: LogisticRegression(random_state=seed)},
    baseline=ByFeature("visits__days"),
    populations={"recent": at_most("visits__days", 10)},
)
REGRESSION = replace(CASE, task=Regression("spend"), candidates={"ridge": lambda _: Ridge()})


def checked(case: UseCase, **settings: Any) -> None:
    check_before_reading(case, SCHEMA, TrainingSettings(**{"segments": "visits__days", **settings}))


def refusal(case: UseCase, **settings: Any) -> str:
    with pytest.raises(UseCaseError) as raised:
        checked(case, **settings)
    return str(raised.value).removeprefix("use case 'shop': ")


def test_a_use_case_that_fits_the_registry_passes() -> None:
    checked(CASE)
    checked(REGRESSION)
    checked(replace(CASE, candidates={"scaled": lambda _: make_pipeline(StandardScaler(), LogisticRegression())}))


NOT_OFFERED = "'nowhere' is not a feature of 'shop_v1'; it has "


def test_an_input_that_is_not_there_is_refused_wherever_it_is_named() -> None:
    assert refusal(replace(CASE, baseline=ByFeature("nowhere"))).startswith(f"baseline: {NOT_OFFERED}")
    far = replace(CASE, populations={"far": at_most("nowhere", 1)})
    assert refusal(far).startswith(f"populations['far']: {NOT_OFFERED}")
    assert refusal(CASE, segments="nowhere:1:2").startswith(f"segments: {NOT_OFFERED}")


def test_a_feature_without_its_views_name_is_answered_with_the_whole_name() -> None:
    whole = str(CASE.baseline.feature)

    said = refusal(replace(CASE, baseline=ByFeature(whole.split("__")[1])))

    assert said.endswith(f"is not a feature of 'shop_v1'; perhaps {whole}")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shopper_id", "task: an answer's member would be named 'shopper_id', which is taken"),
        ("status", "task: an answer's member would be named 'status', which is taken"),
        ("time", "task: an answer's member would be named 'time', which is taken"),
        ("net spend", "task: target 'net spend' is no name; use letters, digits and _"),
        ("", "task: target '' is no name; use letters, digits and _"),
    ],
)
def test_a_target_that_cannot_name_an_answers_member_is_refused(target: str, said: str) -> None:
    assert refusal(replace(REGRESSION, task=Regression(target))).startswith(said)


def test_a_join_key_that_a_call_has_no_room_for_is_refused_before_a_row_is_read() -> None:
    schema = SCHEMA.model_copy(update={"entity_keys": (EntityKey(join_key="limit", dtype="string"),)})

    with pytest.raises(UseCaseError, match="'shop': entity: a join key cannot have the name 'limit'"):
        check_before_reading(CASE, schema, TrainingSettings(segments="visits__days"))


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Binary("buys", ("no", "no")), "task: classes: a class is listed twice"),
        (Binary("buys", ("no", "")), "task: classes: ('no', '') are not all text; a class has a name"),
        (Binary("buys", (0, 1)), "task: classes: (0, 1) are not all text; a class has a name"),  # type: ignore[arg-type]
        (
            Binary("buys", ("no", "yes", "maybe")),  # type: ignore[arg-type]
            "task: classes: 3 are listed; a binary task has two, the negative one first",
        ),
        (Multiclass("buys", ("a",)), "task: classes: at least two are needed"),
        (Multiclass("buys", ("a", "b", "a")), "task: classes: a class is listed twice"),
        (Regression("spend", at_least=5, at_most=5), "task: at_least: 5 is not below at_most, 5"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(task: Any, said: str) -> None:
    assert said == refusal(replace(CASE, task=task))


def test_a_headline_that_cannot_be_judged_is_refused() -> None:
    assert "headline: 'nobody' is not a population" == refusal(replace(CASE, headline=("nobody", "roc_auc")))
    assert refusal(replace(CASE, headline=("all", "mae"))).startswith("headline: a binary task has no metric 'mae'")
    assert refusal(replace(REGRESSION, headline=("all", "bias"))).startswith("headline: 'bias' has no better side")
    assert "headline: 'brier' is not defined for the baseline's scores" == refusal(
        replace(CASE, headline=("all", "brier"))
    )


def test_a_name_that_cannot_be_part_of_a_metrics_name_is_refused() -> None:
    said = "is no name for metrics; use letters, digits and _"

    assert f"baseline: 'by feature' {said}" == refusal(replace(CASE, baseline=ByFeature("visits__days", "by feature")))
    assert f"populations['<10']: '<10' {said}" == refusal(
        replace(CASE, populations={"<10": at_most("visits__days", 10)})
    )
    assert f"candidates['a=b']: 'a=b' {said}" == refusal(replace(CASE, candidates={"a=b": CASE.candidates["logistic"]}))


def test_the_name_of_all_rows_is_taken() -> None:
    populations = {"all": at_most("visits__days", 10)}

    assert "populations['all']: the name is taken by all rows" == refusal(replace(CASE, populations=populations))


def _raises(seed: int) -> Any:
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        ({}, "candidates: there is none"),
        (
            {"svm": lambda _: LinearSVC()},
            "candidates['svm']: LinearSVC has no predict_proba, which a binary model needs; "
            "wrap it, or take an estimator that has it",
        ),
        (
            {"svm": lambda _: make_pipeline(StandardScaler(), LinearSVC())},
            "candidates['svm']: LinearSVC has no predict_proba, which a binary model needs; "
            "wrap it, or take an estimator that has it",
        ),
        ({"text": lambda _: "ridge"}, "candidates['text']: it makes a str, which is no estimator of scikit-learn"),
        ({"bad": _raises}, "candidates['bad']: a call with the seed raised KeyError: 'no such thing'"),
    ],
)
def test_a_candidate_that_cannot_serve_the_task_is_refused(candidates: Any, said: str) -> None:
    assert said == refusal(replace(CASE, candidates=candidates))


OF_CATEGORIES = SCHEMA.model_copy(
    update={
        "features": (
            *SCHEMA.features,
            FeatureSpec(name="visits__plan", dtype="string", kind="categorical", view="visits", sources=("visits",)),
        )
    }
)


@pytest.mark.parametrize(
    ("changed", "segments", "said"),
    [
        ({"baseline": ByFeature("visits__plan")}, "", "baseline: 'visits__plan' is a category, .* take ByCategory"),
        ({"baseline": ByCategory("visits__days")}, "", "baseline: 'visits__days' is a number; take ByFeature"),
        (
            {"populations": {"recent": at_most("visits__plan", 1)}},
            "",
            r"populations\['recent'\]: 'visits__plan' is a category; only a number has bounds",
        ),
        ({"age_feature": "visits__plan"}, "", "age_feature: 'visits__plan' is a category; an age is a number"),
        ({}, "visits__plan:1:2", "segments: 'visits__plan' is a category; without numbers"),
    ],
)
def test_a_category_where_a_number_is_needed_is_refused(changed: dict[str, Any], segments: str, said: str) -> None:
    with pytest.raises(UseCaseError, match=f"use case 'shop': {said}"):
        check_before_reading(replace(CASE, **changed), OF_CATEGORIES, TrainingSettings(segments=segments))


def test_a_category_may_be_baseline_and_segments() -> None:
    case = replace(CASE, baseline=ByCategory("visits__plan"))

    check_before_reading(case, OF_CATEGORIES, TrainingSettings(segments="visits__plan"))
