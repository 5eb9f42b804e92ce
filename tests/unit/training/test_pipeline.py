"""How the candidate models behave, on customers whose churn is known to be driven by recency."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from contract import RawFeatures, Resolver
from tests.models.fakes import DAYS_SINCE, DEFAULTS, ORDERS_30D, small_contract, training_rows
from training.churn.candidates import CANDIDATES

CANDIDATE_NAMES = sorted(CANDIDATES)


def fitted(candidate: str, seed: int = 5) -> Pipeline:
    return CANDIDATES[candidate](seed).fit(*training_rows(rows=800))


def churn(pipeline: Pipeline, rows: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    probability: np.ndarray[tuple[int], np.dtype[np.float64]] = pipeline.predict_proba(rows)[:, 1]
    return probability


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_a_recent_buyer_scores_lower_than_the_same_customer_long_gone(candidate: str) -> None:
    rows = training_rows(seed=50)[0]

    recent = churn(fitted(candidate), rows.assign(**{DAYS_SINCE: np.float32(5)}))
    gone = churn(fitted(candidate), rows.assign(**{DAYS_SINCE: np.float32(250)}))

    assert (recent < gone).all()
    assert (gone - recent).mean() > 0.3


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_a_frequent_buyer_scores_lower_on_average_than_the_same_customer_buying_nothing(candidate: str) -> None:
    rows = training_rows(seed=50)[0].assign(**{DAYS_SINCE: np.float32(60)})

    frequent = churn(fitted(candidate), rows.assign(**{ORDERS_30D: np.float32(4)}))
    idle = churn(fitted(candidate), rows.assign(**{ORDERS_30D: np.float32(0)}))

    assert frequent.mean() < idle.mean()


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_a_candidate_learns_what_drives_churn(candidate: str) -> None:
    rows, churned = training_rows(seed=50, rows=1000)

    assert roc_auc_score(churned, churn(fitted(candidate), rows)) > 0.8


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_a_candidate_finds_nothing_where_there_is_nothing(candidate: str) -> None:
    rows, churned = training_rows(rows=800)
    shuffled = np.random.default_rng(1).permutation(churned)
    fresh, fresh_churned = training_rows(seed=50, rows=1000)

    auc = roc_auc_score(fresh_churned, churn(CANDIDATES[candidate](5).fit(rows, shuffled), fresh))

    assert 0.2 < auc < 0.8


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_the_same_seed_and_rows_give_identical_probabilities(candidate: str) -> None:
    rows = training_rows(seed=50)[0]

    np.testing.assert_array_equal(churn(fitted(candidate), rows), churn(fitted(candidate), rows))


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_a_row_scores_the_same_whatever_rows_stand_beside_it(candidate: str) -> None:
    pipeline, rows = fitted(candidate), training_rows(seed=50)[0]

    alone = [churn(pipeline, rows.iloc[[i]])[0] for i in range(10)]

    np.testing.assert_allclose(alone, churn(pipeline, rows)[:10], rtol=0, atol=1e-6)


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_the_columns_order_in_a_table_does_not_matter_when_the_contract_resolves_it(candidate: str) -> None:
    pipeline, rows = fitted(candidate), training_rows(seed=50)[0]
    resolver = Resolver.of(small_contract())

    def resolved(table: pd.DataFrame) -> pd.DataFrame:
        raw = RawFeatures(table[list(resolver.names)].to_numpy(dtype=np.float64), event_times=None)
        matrix = resolver.resolve(raw, as_of=float("nan")).matrix
        return pd.DataFrame(matrix, columns=list(resolver.names))

    reversed_columns = rows[list(rows.columns)[::-1]]
    assert list(DEFAULTS) == list(resolver.names)
    np.testing.assert_array_equal(churn(pipeline, rows), churn(pipeline, resolved(reversed_columns)))


@pytest.mark.parametrize("candidate", CANDIDATE_NAMES)
def test_a_table_in_another_column_order_is_refused_rather_than_misread(candidate: str) -> None:
    rows = training_rows(seed=50)[0]

    with pytest.raises(ValueError, match="feature names"):
        churn(fitted(candidate), rows[list(rows.columns)[::-1]])
