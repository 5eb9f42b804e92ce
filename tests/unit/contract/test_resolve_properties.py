"""What holds for any contract, any values and any times, held against a slow reading of the rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from contract import (
    FeatureInput,
    FeatureState,
    OverrideError,
    RawFeatures,
    ResolvedFeatures,
    Resolver,
    SourceView,
)
from contract.feature_schema import Dtype, MissingPolicy, StalePolicy
from contract.resolve import CLOCK_SKEW_SECONDS
from tests.unit.contract.builders import columns_of, feature, taken

NOW = 1_700_000_000.0
TTL = 60.0
FRESH, STALE, MISSING, OVERRIDDEN, UNSEEN = FeatureState


@dataclass(frozen=True)
class Asked:
    """A contract of any kind, what a store returned for n rows, and when each of them was asked for.

    overrides: column → value, as `check_overrides` gives them.
    """

    inputs: tuple[FeatureInput, ...]
    views: tuple[SourceView, ...]
    raw: RawFeatures
    as_of: NDArray[np.float64]
    overrides: dict[int, float]

    def resolve(self, rows: Sequence[int] | None = None) -> ResolvedFeatures:
        index = list(range(len(self.as_of))) if rows is None else list(rows)
        resolver = Resolver(self.inputs, self.views)
        return resolver.resolve(taken(self.raw, index), self.as_of[np.array(index, dtype=np.intp)], self.overrides)


_STALE_POLICIES: list[StalePolicy] = ["use_value", "use_default", "refuse"]
_MISSING_POLICIES: list[MissingPolicy] = ["use_default", "refuse"]
_FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def asked(draw: st.DrawFn, future: bool = False) -> Asked:
    ttl = st.none() | st.just(TTL) | st.floats(0, 1e6)
    views = tuple(SourceView(name=name, ttl_seconds=draw(ttl)) for name in "vwx"[: draw(st.integers(1, 3))])
    names = [view.name for view in views]
    inputs = tuple(
        feature(
            f"f__{number}",
            sources=tuple(draw(st.permutations(names)))[: draw(st.integers(0, len(names)))],
            on_stale=draw(st.sampled_from(_STALE_POLICIES)),
            on_missing=draw(st.sampled_from(_MISSING_POLICIES)),
            default=draw(_FLOAT32),
        )
        for number in range(draw(st.integers(1, 4)))
    )
    # `()` instead of its own view: made from the request alone
    inputs = tuple(f.model_copy(update={"sources": ()}) if f.sources == ("f",) else f for f in inputs)
    rows = draw(st.integers(0, 5))
    number = st.sampled_from([math.nan, math.inf, 3.5e38, -1e308, 0.0]) | st.floats(width=64)
    values = draw(hnp.arrays(np.float64, (rows, len(inputs)), elements=number))
    as_of = draw(hnp.arrays(np.float64, rows, elements=st.sampled_from([NOW, 0.0]) | st.floats(0, 4e9)))
    ages = st.sampled_from([math.nan, 0.0, TTL, math.nextafter(TTL, math.inf)]) | st.floats(-1e7, 1e7)
    if future:
        ages = st.just(math.nan) | st.floats(-1e9, 0)
    times = as_of[:, None] - draw(hnp.arrays(np.float64, (rows, len(views)), elements=ages))
    columns = st.integers(0, len(inputs) - 1)
    return Asked(
        inputs=inputs,
        views=views,
        raw=RawFeatures(values, times if future else draw(st.sampled_from([times, times, None]))),
        as_of=as_of,
        overrides=draw(st.just({}) | st.dictionaries(columns, _FLOAT32, max_size=3)),
    )


def slowly(case: Asked) -> ResolvedFeatures:
    """What the docstrings of `resolve`, `FeatureInput` and `ResolvedFeatures` say, one value after another."""
    n, k = case.raw.values.shape
    done = ResolvedFeatures(
        matrix=np.zeros((n, k), dtype=np.float32),
        states=np.zeros((n, k), dtype=np.uint8),
        defaulted=np.zeros((n, k), dtype=bool),
        ages=np.full((n, k), math.nan),
        known=np.zeros(n, dtype=bool),
        refused=np.zeros(n, dtype=bool),
        names=tuple(f.name for f in case.inputs),
    )
    view_names = [view.name for view in case.views]
    for row in range(n):
        event_times = [math.nan] * len(view_names)
        if case.raw.event_times is not None:
            event_times = [float(at) for at in case.raw.event_times[row]]
            done.known[row] = any(math.isfinite(at) for at in event_times)
        for column, spec in enumerate(case.inputs):
            with np.errstate(over="ignore", invalid="ignore"):
                value = float(np.float32(case.raw.values[row, column]))
            if case.raw.event_times is None and math.isfinite(value):
                done.known[row] = True
            stale = ahead = False
            for view in spec.sources:
                position = view_names.index(view)
                age, ttl = float(case.as_of[row]) - event_times[position], case.views[position].ttl_seconds
                if math.isnan(age):
                    continue
                if math.isnan(done.ages[row, column]) or age > done.ages[row, column]:
                    done.ages[row, column] = age
                stale = stale or (ttl is not None and age > ttl)
                ahead = ahead or age < -CLOCK_SKEW_SECONDS
            if column in case.overrides:
                state, seen, defaulted, refuses = OVERRIDDEN, case.overrides[column], False, False
            elif ahead or not math.isfinite(value):
                state, seen, defaulted, refuses = MISSING, float(spec.default or 0), True, spec.on_missing == "refuse"
            elif stale:
                defaulted = spec.on_stale != "use_value"
                seen = float(spec.default or 0) if defaulted else value
                state, refuses = STALE, spec.on_stale == "refuse"
            else:
                state, seen, defaulted, refuses = FRESH, value, False, False
            done.matrix[row, column] = seen
            done.states[row, column] = state
            done.defaulted[row, column] = defaulted
            done.refused[row] |= refuses
    return done


def assert_equal(expected: ResolvedFeatures, actual: ResolvedFeatures) -> None:
    assert expected.names == actual.names
    for one, other in zip(columns_of(expected), columns_of(actual), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@given(asked())
def test_everything_equals_a_slow_reading_of_the_rules_value_by_value(case: Asked) -> None:
    assert_equal(slowly(case), case.resolve())


@given(asked())
def test_under_any_contract_the_model_only_ever_sees_finite_float32(case: Asked) -> None:
    done = case.resolve()

    assert np.float32 == done.matrix.dtype
    assert np.isfinite(done.matrix).all()


@given(asked())
def test_every_row_is_judged_at_its_own_time_as_if_it_had_been_asked_for_alone(case: Asked) -> None:
    together = columns_of(case.resolve())

    resolver = Resolver(case.inputs, case.views)
    for row in range(len(case.as_of)):
        alone = columns_of(resolver.resolve(taken(case.raw, [row]), float(case.as_of[row]), case.overrides))
        for expected, actual in zip(together, alone, strict=True):
            np.testing.assert_array_equal(expected[row], actual[0])


@given(asked(), st.data())
def test_the_order_of_rows_does_not_matter_where_each_has_its_own_time(case: Asked, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(case.as_of))))

    shuffled = columns_of(case.resolve(order))

    for expected, actual in zip(columns_of(case.resolve()), shuffled, strict=True):
        np.testing.assert_array_equal(expected[np.array(order, dtype=np.intp)], actual)


@given(asked(future=True))
def test_a_row_from_the_future_of_the_requests_clock_is_never_stale_and_beyond_the_skew_of_clocks_missing(
    case: Asked,
) -> None:
    done = case.resolve()

    assert not (done.states == STALE).any()
    assert not (done.ages[done.states == FRESH] < -CLOCK_SKEW_SECONDS).any()
    assert not done.ages[~np.isnan(done.ages)].max(initial=-math.inf) > 0


@given(asked(), st.floats(0, 1e6))
def test_what_is_stale_stays_stale(case: Asked, later: float) -> None:
    resolver = Resolver(case.inputs, case.views)

    now = resolver.resolve(case.raw, case.as_of, case.overrides).states
    then = resolver.resolve(case.raw, case.as_of + later, case.overrides).states

    assert (then[now == STALE] == STALE).all()
    with np.errstate(over="ignore"):
        was_ahead = (now == MISSING) & np.isfinite(case.raw.values.astype(np.float32))
    assert ((then == STALE) | (then == now) | was_ahead).all()


@given(asked())
def test_the_issues_of_a_row_are_its_features_that_are_not_fresh_in_model_order(case: Asked) -> None:
    done = case.resolve()

    for row in range(len(case.as_of)):
        issues = done.issues(row)
        words = {STALE: "stale", MISSING: "missing", OVERRIDDEN: "overridden"}
        expected = [(done.names[c], words[FeatureState(s)]) for c, s in enumerate(done.states[row]) if s != FRESH]
        assert expected == [(i.feature, i.state) for i in issues]
        for issue in issues:
            column = done.names.index(issue.feature)
            used = "default" if done.defaulted[row, column] else "value"
            assert issue.used == (None if done.refused[row] else used)
            assert issue.age_seconds is None or issue.age_seconds == done.ages[row, column]


_JSON = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=1)
)
_DTYPES: list[Dtype] = ["bool", "int32", "int64", "float32", "float64"]


@given(st.sampled_from(_DTYPES), _JSON | st.integers(-(10**400), 10**400) | st.sampled_from([3.4028235677973366e38]))
def test_an_override_is_refused_or_the_model_sees_that_very_number(dtype: Dtype, value: object) -> None:
    resolver = Resolver([feature("v__a", dtype=dtype)], [SourceView(name="v", ttl_seconds=TTL)])
    overrides, refused = {}, ""

    try:
        overrides = resolver.check_overrides({"v__a": value})
    except OverrideError as error:
        refused = error.field

    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if refused:
        assert "features.v__a" == refused
        assume(is_number and abs(value) < 2**31)  # type: ignore[arg-type]  # a number
        # One that fits is never refused.
        assert dtype == "bool" or (dtype in ("int32", "int64") and int(value) != value)  # type: ignore[call-overload]
    else:
        assert is_number if dtype != "bool" else isinstance(value, bool)
        done = resolver.resolve(RawFeatures(np.full((1, 1), math.nan), None), NOW, overrides)
        assert np.float32(value) == done.matrix[0, 0]  # type: ignore[arg-type]  # a number or a bool
        assert np.isfinite(done.matrix).all()
