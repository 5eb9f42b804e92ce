"""Values of a regression are compared in their own unit, probabilities in that of 1."""

import numpy as np
import pytest

from contract import ModelContract
from contract.values.histogram import Histogram
from scoring.agreement import deviations, reproduced, spread_of, unit_of
from tests.models.fakes import contract_of

SPEND = np.array([0.0, 100.0, 200.0, 400.0])


def with_scores(scores: np.ndarray) -> ModelContract:
    return contract_of("regression").model_copy(update={"scores": Histogram.of(scores)})


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_an_error_counts_as_much_in_every_unit_of_the_target(scale: float) -> None:
    found = deviations(SPEND * scale, (SPEND + 1) * scale, spread_of(SPEND * scale))

    np.testing.assert_allclose(found, deviations(SPEND, SPEND + 1, spread_of(SPEND)))


def test_small_values_are_not_equal_because_their_differences_are_small() -> None:
    contract = with_scores(SPEND * 1e-6)

    assert [False] == reproduced((np.array([1e-4]),), (np.array([1.05e-4]),), contract).tolist()


def test_a_value_near_zero_may_be_as_inexact_as_the_others() -> None:
    contract = with_scores(SPEND)

    assert [True] == reproduced((np.array([0.25]),), (np.array([0.25 + 3e-5]),), contract).tolist()
    assert [False] == reproduced((np.array([0.25]),), (np.array([0.25 + 3e-3]),), contract).tolist()


@pytest.mark.parametrize(
    "contract",
    [contract_of("binary"), contract_of("multiclass"), with_scores(np.zeros(9)), with_scores(np.full(3, np.nan))],
)
def test_probabilities_and_scores_that_are_all_equal_have_the_unit_1(contract: ModelContract) -> None:
    assert unit_of(contract) == 1.0
