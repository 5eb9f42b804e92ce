"""What the model sees of categories, kept nulls, timestamps and arrays."""

import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from contract import (
    CategoryDistribution,
    FeatureInput,
    FeatureState,
    OverrideError,
    RawFeatures,
    ResolvedFeatures,
    Resolver,
    SourceView,
    Vocabulary,
)
from contract.values.category_counts import CategoryCounts
from contract.values.vocabulary import MISSING_CODE, MISSING_TEXT, UNSEEN_CODE, UNSEEN_TEXT
from tests.unit.contract.builders import feature

NOW = 1_700_000_000.0
VIEWS = (SourceView(name="v", ttl_seconds=60.0),)
NAN = float("nan")


def category(**members: Any) -> FeatureInput:
    values = members.pop("vocabulary", ("blue", "green", "red"))
    if values is None:
        return FeatureInput.model_validate(category().model_dump() | {"vocabulary": None})
    counts = CategoryCounts(counts=(0,) * len(values), unseen=0, missing=0)
    described = {
        "name": "v__colour",
        "dtype": "string",
        "view": "v",
        "sources": ("v",),
        "kind": "categorical",
        "default": "red",
        "default_from": "training_mode",
        "vocabulary": values,
        "distribution": CategoryDistribution(training=(1,) * len(values), null_rate=0, histogram=counts),
    }
    return FeatureInput.model_validate(described | members)


def number(name: str = "v__a", **members: Any) -> FeatureInput:
    return FeatureInput.model_validate(feature(name).model_dump() | members)


def resolve(given: list[FeatureInput], values: list[float], age: float = 1.0, **overrides: object) -> ResolvedFeatures:
    resolver = Resolver(given, VIEWS)
    raw = RawFeatures(np.array([values]), np.array([[NOW - age]]))
    return resolver.resolve(raw, NOW, resolver.check_overrides(overrides))


def test_a_category_reaches_the_model_as_its_code() -> None:
    done = resolve([category()], [1.0])

    assert ([[1.0]], []) == (done.matrix.tolist(), done.issues(0))


@pytest.mark.parametrize(
    ("policy", "seen", "used", "refused"),
    [("use_value", UNSEEN_CODE, "value", False), ("use_default", 2.0, "default", False), ("refuse", -1.0, None, True)],
)
def test_a_value_that_training_did_not_see_is_treated_as_its_policy_says(
    policy: str, seen: float, used: str | None, refused: bool
) -> None:
    done = resolve([category(on_unseen=policy)], [UNSEEN_CODE])

    assert ([[seen]], [refused]) == (done.matrix.tolist(), done.refused.tolist())
    assert [("v__colour", "unseen", 1.0, used)] == [(i.feature, i.state, i.age_seconds, i.used) for i in done.issues(0)]


def test_a_stale_category_is_stale_and_a_stale_one_that_is_unseen_is_unseen() -> None:
    kept = category(on_stale="use_value")

    assert [FeatureState.STALE] == resolve([kept], [0.0], age=61).states[0].tolist()
    assert [FeatureState.UNSEEN] == resolve([kept], [UNSEEN_CODE], age=61).states[0].tolist()
    assert [[2.0]] == resolve([category()], [UNSEEN_CODE], age=61).matrix.tolist()  # the default, for being stale


@pytest.mark.parametrize("given", [category(on_missing="keep"), number(on_missing="keep")])
def test_a_null_that_the_model_takes_is_kept_and_named(given: FeatureInput) -> None:
    done = resolve([given], [NAN])

    assert np.array_equal([[MISSING_CODE if given.codes else NAN]], done.matrix, equal_nan=True)
    assert [("missing", "null")] == [(i.state, i.used) for i in done.issues(0)]
    assert done.kept is not None
    assert done.kept.all()
    assert not done.defaulted.any()
    assert [True] == done.all_issues().kept.tolist()


def test_the_null_stands_in_for_a_stale_value_where_there_is_no_other_default() -> None:
    given = number(on_missing="keep", default=None, default_from="null")

    done = resolve([given], [5.0], age=61)

    assert np.isnan(done.matrix).all()
    assert done.defaulted.all()
    assert [("stale", "default")] == [(i.state, i.used) for i in done.issues(0)]


def test_a_timestamp_reaches_the_model_as_seconds_until_the_request() -> None:
    given = number(dtype="unixtimestamp", kind="age")

    assert [[86_400.0]] == resolve([given], [NOW - 86_400]).matrix.tolist()
    assert [[-30.0]] == resolve([given], [NOW + 30]).matrix.tolist()


def test_ages_of_several_requests_are_each_of_its_own_time() -> None:
    given = number(dtype="unixtimestamp", kind="age")
    raw = RawFeatures(np.array([[NOW - 10.0], [NOW - 10.0], [NAN]]), None)

    done = Resolver([given], VIEWS).resolve(raw, np.array([NOW, NOW + 5, NOW]))

    assert [10.0, 15.0, given.default] == done.matrix[:, 0].tolist()


def test_the_elements_of_an_array_are_one_feature_among_the_issues() -> None:
    given = [number(f"v__e__{i}", view="v", element=i) for i in range(3)] + [number()]

    done = resolve(given, [1.0, NAN, 3.0, NAN])

    assert ["v__e", "v__a"] == [i.feature for i in done.issues(0)]
    assert [("default", "v__e"), ("default", "v__a")] == [(i.used, i.feature) for i in done.issues(0)]
    assert [0, 3] == done.all_issues().columns.tolist()
    assert "v__e" == given[0].reference
    assert "e" == given[0].field_name


@pytest.mark.parametrize(
    ("given", "value", "seen"),
    [
        (category(), "green", 1.0),
        (category(), "mauve", UNSEEN_CODE),
        (category(dtype="int64", vocabulary=(3, 2**60), default=3), 2**60, 1.0),
        (category(on_missing="keep"), None, MISSING_CODE),
        (number(on_missing="keep"), None, NAN),
        (number(dtype="unixtimestamp", kind="age"), 60.5, 60.5),
    ],
)
def test_an_override_is_of_the_inputs_own_type(given: FeatureInput, value: object, seen: float) -> None:
    resolver = Resolver([given], VIEWS)
    raw = RawFeatures(np.array([[0.0]]), np.array([[NOW]]))

    done = resolver.resolve(raw, NOW, resolver.check_overrides({given.name: value}))

    assert np.array_equal([[seen]], done.matrix, equal_nan=True)
    assert [[FeatureState.OVERRIDDEN]] == done.states.tolist()


@pytest.mark.parametrize("given", [category(on_missing="keep"), number(on_missing="keep")])
def test_an_override_by_null_says_that_the_model_saw_the_null(given: FeatureInput) -> None:
    resolver = Resolver([given], VIEWS)
    raw = RawFeatures(np.array([[0.0]]), np.array([[NOW]]))

    done = resolver.resolve(raw, NOW, resolver.check_overrides({given.name: None}))

    assert [("overridden", "null")] == [(i.state, i.used) for i in done.issues(0)]


@pytest.mark.parametrize(
    ("given", "value", "said"),
    [
        (number(dtype="unixtimestamp", kind="age"), "2026-01-01T00:00:00Z", "age of a time, in seconds"),
        (category(), 1, "must be text"),
        (category(), None, "must be text"),
        (category(on_unseen="refuse"), "mauve", "not one of the model's categories"),
        (category(dtype="int64", vocabulary=(3, 4), default=3), "3", "must be a number"),
        (category(dtype="int32", vocabulary=(3, 4), default=3), 2**31, "out of range"),
        (number(dtype="unixtimestamp", kind="age"), "2026-01-01", "must be a number"),
    ],
)
def test_an_override_of_another_type_is_refused_by_name(given: FeatureInput, value: object, said: str) -> None:
    with pytest.raises(OverrideError, match=said) as caught:
        Resolver([given], VIEWS).check_overrides({given.name: value})

    assert f"features.{given.name}" == caught.value.field


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"vocabulary": ("a", "a"), "default": "a"}, "a value is listed twice"),
        ({"vocabulary": ("a", "b")}, "not in the vocabulary"),
        ({"vocabulary": (1, 2), "default": 1}, "a number|must be text|values of type string"),
        ({"vocabulary": ("a", UNSEEN_TEXT), "default": "a"}, "meaning of its own"),
        ({"vocabulary": tuple(map(str, range(10_001))), "default": "1"}, "at most 10000"),
        ({"vocabulary": None}, "categorical input has"),
        ({"default": None}, "only an input that keeps nulls"),
        ({"kind": "numeric"}, "a string feature is categorical"),
    ],
)
def test_a_category_that_contradicts_itself_is_refused(members: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        category(**members)


def test_a_number_is_written_as_before_there_were_categories() -> None:
    assert {"kind", "vocabulary", "on_unseen", "element"}.isdisjoint(json.loads(number().model_dump_json()))


def test_a_vocabulary_tells_values_unseen_ones_and_nulls_apart() -> None:
    vocabulary = Vocabulary(("a", "b"))
    codes = vocabulary.codes(["b", "c", None, NAN, "a"])

    assert [1.0, UNSEEN_CODE, 0.0] == codes[[0, 1, 4]].tolist()
    assert np.isnan(codes[[2, 3]]).all()
    assert ["b", UNSEEN_TEXT, MISSING_TEXT] == vocabulary.texts(np.array([1.0, -1.0, -2.0], np.float32)).tolist()


def test_codes_are_counted_with_unseen_and_missing_ones() -> None:
    found = CategoryCounts.of([0, 2, 2, UNSEEN_CODE, MISSING_CODE, NAN], 3)

    assert ((1, 0, 2), 1, 2) == (found.counts, found.unseen, found.missing)
    assert found.all_counts.tolist() == found.count([0, 2, 2, UNSEEN_CODE, MISSING_CODE, NAN]).tolist()


def test_rows_that_are_joined_keep_their_nulls_and_arrays() -> None:
    given = [number(f"v__e__{i}", element=i) for i in range(2)] + [number(on_missing="keep"), category()]
    values = [[NAN, 1.0, NAN, UNSEEN_CODE], [1.0, 2.0, 3.0, 0.0]]

    joined = ResolvedFeatures.joined([resolve(given, row) for row in values])

    together = Resolver(given, VIEWS).resolve(RawFeatures(np.array(values), np.full((2, 1), NOW - 1)), NOW)
    for column in ("matrix", "states", "defaulted", "ages", "known", "refused", "kept"):
        assert np.array_equal(getattr(together, column), getattr(joined, column), equal_nan=True)
    assert (together.names, together.arrays) == (joined.names, joined.arrays)
    assert together.issues(0) == joined.issues(0)
