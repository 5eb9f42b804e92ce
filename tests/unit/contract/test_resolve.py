import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contract import (
    ContractError,
    FeatureInput,
    FeatureIssue,
    FeatureState,
    OverrideError,
    RawFeatures,
    ResolvedFeatures,
    Resolver,
    SourceView,
)
from contract.feature_schema import Dtype
from tests.unit.contract.builders import columns_of, contract, feature, taken

NOW = 1_700_000_000.0
TTL = 60.0
FRESH, STALE, MISSING, OVERRIDDEN, UNSEEN = FeatureState
VIEWS = (SourceView(name="v", ttl_seconds=TTL), SourceView(name="w", ttl_seconds=None))


def resolve(
    inputs: Sequence[FeatureInput],
    values: Sequence[float],
    ages: Sequence[float] | None,
    overrides: Mapping[str, object] | None = None,
) -> ResolvedFeatures:
    """One row; `ages` are those of the views v and w."""
    resolver = Resolver(inputs, VIEWS)
    times = None if ages is None else NOW - np.array([ages], dtype=np.float64)
    raw = RawFeatures(values=np.array([values], dtype=np.float64), event_times=times)
    return resolver.resolve(raw, NOW, resolver.check_overrides(overrides or {}))


def test_fresh_values_pass_unchanged_in_contract_order() -> None:
    resolver = Resolver.of(contract())

    done = resolver.resolve(
        RawFeatures(values=np.array([[2.0, 99.5, 7.25]]), event_times=np.array([[NOW - 5, NOW - 9]])), NOW
    )

    assert ("windowed__orders", "lifetime__spend", "recency__days") == resolver.names == done.names
    assert [[2.0, 99.5, 7.25]] == done.matrix.tolist()
    assert np.float32 == done.matrix.dtype
    assert [[9.0, 5.0, 9.0]] == done.ages.tolist()
    assert [] == done.issues(0)
    assert ([True], [False]) == (done.known.tolist(), done.refused.tolist())


@pytest.mark.parametrize(
    ("policy", "seen", "refused", "used"),
    [("use_value", 3.0, False, "value"), ("use_default", -1.0, False, "default"), ("refuse", -1.0, True, None)],
)
def test_a_stale_value_is_treated_as_its_policy_says(policy: str, seen: float, refused: bool, used: str | None) -> None:
    stale = feature("v__a").model_copy(update={"on_stale": policy})

    done = resolve([stale], [3.0], [TTL + 40, 0.0])

    assert [[seen]] == done.matrix.tolist()
    assert [refused] == done.refused.tolist()
    assert [(FeatureState.STALE, "stale", 100.0, used)] == [
        (FeatureState(done.states[0, 0]), i.state, i.age_seconds, i.used) for i in done.issues(0)
    ]


@pytest.mark.parametrize("which", ["on_stale", "on_missing"])
def test_a_policy_that_has_no_effect_here_is_refused_by_name(which: str) -> None:
    unknown = feature("v__a").model_copy(update={which: "use_mean"})

    with pytest.raises(ContractError, match=f"v__a: {which}: 'use_mean'"):
        resolve([unknown], [3.0], [1.0, 0.0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308])
@pytest.mark.parametrize("age", [1.0, TTL + 1])
def test_a_value_that_is_no_finite_float32_is_missing_and_gets_the_default(value: float, age: float) -> None:
    done = resolve([feature("v__a", default=4.0)], [value], [age, 0.0])

    assert [[4.0]] == done.matrix.tolist()
    assert [FeatureIssue("v__a", "missing", age, "default")] == done.issues(0)
    assert [False] == done.refused.tolist()


def test_a_missing_value_refuses_the_row_where_its_policy_says_so() -> None:
    done = resolve([feature("v__a", on_missing="refuse"), feature("v__b")], [math.nan, 1.0], [1.0, 1.0])

    assert [True] == done.refused.tolist()
    assert [FeatureIssue("v__a", "missing", 1.0, None)] == done.issues(0)


def test_a_missing_value_does_not_refuse_by_the_stale_policy() -> None:
    done = resolve([feature("v__a", on_stale="refuse")], [math.nan], [TTL + 1, 0.0])

    assert [False] == done.refused.tolist()


@pytest.mark.parametrize(
    ("age", "state"), [(TTL, FRESH), (math.nextafter(TTL, 0), FRESH), (TTL + 1e-6, STALE), (-300.0, FRESH)]
)
def test_a_value_is_stale_only_when_it_is_older_than_its_ttl(age: float, state: FeatureState) -> None:
    assert [[state]] == resolve([feature("v__a")], [3.0], [age, 0.0]).states.tolist()


@pytest.mark.parametrize("ahead", [301.0, 3600.0, 53_551.0])
@pytest.mark.parametrize("sources", [("v",), ("v", "w")])
def test_a_value_of_a_row_from_the_future_is_missing_and_tells_the_negative_age(
    ahead: float, sources: tuple[str, ...]
) -> None:
    """As the point-in-time join, which does not find such a row, has it."""
    given = feature("v__a").model_copy(update={"sources": sources})

    done = resolve([given], [3.0], [-ahead, math.nan])

    assert [[MISSING]] == done.states.tolist()
    assert [FeatureIssue("v__a", "missing", -ahead, "default")] == done.issues(0)
    assert [[given.default]] == done.matrix.tolist()
    assert [True] == done.known.tolist()
    refusing = given.model_copy(update={"on_missing": "refuse"})
    assert [True] == resolve([refusing], [3.0], [-ahead, math.nan]).refused.tolist()


def test_a_view_without_ttl_never_goes_stale() -> None:
    assert [] == resolve([feature("w__a")], [3.0], [0.0, 1e9]).issues(0)


@pytest.mark.parametrize(
    ("ages", "state", "oldest"),
    [
        ([10.0, 500.0], FRESH, 500.0),
        ([TTL + 1, 10.0], STALE, TTL + 1),
        ([TTL + 1, 500.0], STALE, 500.0),
        ([TTL + 1, math.nan], STALE, TTL + 1),
    ],
)
def test_an_on_demand_feature_is_stale_if_any_source_is_and_as_old_as_the_oldest(
    ages: list[float], state: FeatureState, oldest: float
) -> None:
    done = resolve([feature("d__a", sources=("w", "v"))], [3.0], ages)

    assert ([[state]], [[oldest]]) == (done.states.tolist(), done.ages.tolist())


def test_a_customer_without_a_row_in_any_view_is_unknown() -> None:
    inputs = [feature("v__a"), feature("w__a")]

    assert [False] == resolve(inputs, [math.nan, math.nan], [math.nan, math.nan]).known.tolist()
    assert [True] == resolve(inputs, [math.nan, math.nan], [math.nan, 5.0]).known.tolist()
    assert [FeatureIssue("v__a", "missing", None, "default"), FeatureIssue("w__a", "missing", None, "default")] == (
        resolve(inputs, [math.nan, math.nan], [math.nan, math.nan]).issues(0)
    )


def test_rows_of_a_point_in_time_join_have_no_ages_and_only_lack_what_is_null() -> None:
    done = resolve([feature("v__a"), feature("v__b")], [3.0, math.nan], None)

    assert [[3.0, -1.0]] == done.matrix.tolist()
    assert [FeatureIssue("v__b", "missing", None, "default")] == done.issues(0)
    assert [True] == done.known.tolist()
    assert [False] == resolve([feature("v__a")], [math.nan], None).known.tolist()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("bool", 1),
        ("bool", "true"),
        ("int64", True),
        ("int64", 1.5),
        ("int64", 2**63),
        ("int64", -(2**63) - 1),
        ("int64", 10**400),
        ("int64", math.nan),
        ("int64", math.inf),
        ("int64", "1"),
        ("int32", 2**31),
        ("float64", False),
        ("float64", math.nan),
        ("float64", -math.inf),
        ("float64", 1e308),
        ("float64", 10**400),
        ("float64", "1.0"),
        ("float64", None),
        ("float64", [1.0]),
    ],
)
def test_an_override_of_the_wrong_type_is_refused_and_names_its_field(dtype: Dtype, value: object) -> None:
    resolver = Resolver([feature("v__a", dtype=dtype)], VIEWS)

    with pytest.raises(OverrideError) as caught:
        resolver.check_overrides({"v__a": value})

    assert "features.v__a" == caught.value.field


def test_an_override_of_an_unknown_name_is_refused_and_named() -> None:
    with pytest.raises(OverrideError, match="v__typo") as caught:
        Resolver([feature("v__a")], VIEWS).check_overrides({"v__typo": 1.0})

    assert "features.v__typo" == caught.value.field


def test_an_unknown_name_is_not_repeated_without_bound() -> None:
    with pytest.raises(OverrideError) as caught:
        Resolver([feature("v__a")], VIEWS).check_overrides({"x" * 100_000: 1.0})

    assert len(caught.value.field) < 250
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("dtype", "value", "seen"),
    [
        ("bool", True, 1.0),
        ("int64", -(2**63), -(2.0**63)),
        ("int64", 3.0, 3.0),
        ("int32", 2**31 - 1, 2.0**31),
        ("float64", 2, 2.0),
        ("float32", -0.5, -0.5),
    ],
)
def test_an_override_of_the_right_type_is_what_the_model_sees(dtype: Dtype, value: object, seen: float) -> None:
    done = resolve([feature("v__a", dtype=dtype)], [3.0], [1.0, 1.0], {"v__a": value})

    assert [[seen]] == done.matrix.tolist()
    assert [FeatureIssue("v__a", "overridden", None, "value")] == done.issues(0)


def test_rows_that_are_resolved_together_may_each_have_an_override_of_their_own() -> None:
    strict = feature("v__a", on_missing="refuse")
    raw = RawFeatures(np.full((3, 1), math.nan), np.full((3, len(VIEWS)), NOW))

    done = Resolver([strict], VIEWS).resolve(raw, NOW, {0: np.array([math.nan, 5.0, math.nan])})

    assert 5.0 == done.matrix[1, 0]
    assert [True, False, True] == done.refused.tolist()
    assert ["missing", "overridden", "missing"] == [done.issues(row)[0].state for row in range(3)]


@pytest.mark.parametrize(("value", "age"), [(3.0, TTL + 1), (math.nan, 1.0)])
def test_an_override_wins_over_stale_and_missing_and_lifts_the_refusal(value: float, age: float) -> None:
    strict = feature("v__a", on_stale="refuse", on_missing="refuse")

    done = resolve([strict], [value], [age, 0.0], {"v__a": 8.0})

    assert [[8.0]] == done.matrix.tolist()
    assert [False] == done.refused.tolist()
    assert [FeatureIssue("v__a", "overridden", None, "value")] == done.issues(0)


def test_an_override_lifts_only_its_own_refusal() -> None:
    inputs = [feature("v__a", on_missing="refuse"), feature("v__b", on_missing="refuse")]

    assert [True] == resolve(inputs, [math.nan, math.nan], [1.0, 1.0], {"v__a": 8.0}).refused.tolist()


def test_a_default_that_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(ContractError, match="v__a"):
        Resolver([feature("v__a", default=1e300)], VIEWS)


def test_a_number_of_columns_other_than_that_of_the_inputs_is_refused() -> None:
    with pytest.raises(ContractError, match="2 feature columns for 1 inputs"):
        resolve([feature("v__a")], [1.0, 2.0], [1.0, 1.0])


MIXED = Resolver(
    [
        feature("v__a", on_stale="use_value"),
        feature("v__b", on_missing="refuse"),
        feature("w__a", dtype="int64"),
        feature("d__a", sources=("v", "w"), on_stale="refuse", default=0.5),
    ],
    VIEWS,
)


@st.composite
def raw_features(draw: st.DrawFn) -> RawFeatures:
    rows = draw(st.integers(0, 5))
    values = draw(hnp.arrays(np.float64, (rows, 4), elements=st.floats(width=64)))
    age = st.sampled_from([math.nan, 0.0, -5.0, TTL, TTL + 1]) | st.floats(-1e6, 1e6)
    ages = draw(hnp.arrays(np.float64, (rows, 2), elements=age))
    return RawFeatures(values=values, event_times=draw(st.sampled_from([NOW - ages, None])))


@given(raw_features())
def test_the_model_only_ever_sees_finite_float32(raw: RawFeatures) -> None:
    done = MIXED.resolve(raw, NOW)

    assert np.float32 == done.matrix.dtype
    assert np.isfinite(done.matrix).all()


@given(raw_features())
def test_a_fresh_value_is_never_changed(raw: RawFeatures) -> None:
    done = MIXED.resolve(raw, NOW)

    fresh = done.states == FRESH
    np.testing.assert_array_equal(raw.values[fresh].astype(np.float32), done.matrix[fresh])


@given(raw_features(), st.booleans())
def test_rows_resolved_one_by_one_equal_rows_resolved_together(raw: RawFeatures, overridden: bool) -> None:
    overrides = {1: 9.0} if overridden else {}
    together = columns_of(MIXED.resolve(raw, NOW, overrides))

    for row in range(len(raw.values)):
        alone = columns_of(MIXED.resolve(taken(raw, [row]), NOW, overrides))
        for expected, actual in zip(together, alone, strict=True):
            np.testing.assert_array_equal(expected[row], actual[0])


@given(raw_features(), st.data())
def test_permuted_rows_give_permuted_results(raw: RawFeatures, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(raw.values))))

    before, after = MIXED.resolve(raw, NOW), MIXED.resolve(taken(raw, order), NOW)

    for expected, actual in zip(columns_of(before), columns_of(after), strict=True):
        np.testing.assert_array_equal(expected[np.array(order, dtype=np.intp)], actual)
