"""The issues of many rows at once are those of each row."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contract import RawFeatures, Resolver, SourceView
from contract.resolved import STATE_WORDS
from tests.unit.contract.builders import feature

NOW, TTL = 1_700_000_000.0, 60.0
VIEWS = (SourceView(name="v", ttl_seconds=TTL), SourceView(name="w", ttl_seconds=None))
INPUTS = [
    feature("v__a", on_stale="use_value"),
    feature("v__b", on_stale="refuse"),
    feature("v__c", on_missing="refuse"),
    feature("v__d"),
]
VALUES = st.sampled_from([1.0, math.nan, math.inf])
AGES = st.sampled_from([1.0, TTL + 1, math.nan])
ROWS = st.lists(
    st.tuples(st.lists(VALUES, min_size=4, max_size=4), st.tuples(AGES, AGES), st.sampled_from([3.0, math.nan])),
    min_size=1,
    max_size=8,
)


@given(ROWS)
def test_the_issues_of_all_rows_are_those_of_each(rows: list[tuple[list[float], tuple[float, float], float]]) -> None:
    values, ages, overrides = (np.array(column) for column in zip(*rows, strict=True))
    resolved = Resolver(INPUTS, VIEWS).resolve(RawFeatures(values, NOW - ages), NOW, {3: overrides})

    found = resolved.all_issues()

    together = [
        (row, resolved.names[column], STATE_WORDS[state], None if math.isnan(age) else age, used)
        for row, column, state, age, used in zip(
            found.rows.tolist(),
            found.columns.tolist(),
            found.states.tolist(),
            found.ages.tolist(),
            [
                None if refused else "default" if defaulted else "value"
                for refused, defaulted in zip(found.refused, found.defaulted, strict=True)
            ],
            strict=True,
        )
    ]
    one_by_one = [
        (row, issue.feature, issue.state, issue.age_seconds, issue.used)
        for row in range(len(rows))
        if resolved.known[row]
        for issue in resolved.issues(row)
    ]
    assert one_by_one == together
