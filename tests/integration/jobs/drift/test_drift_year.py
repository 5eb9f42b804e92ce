"""A steady shop by the real feature code, for a year: the smaller, seeded version of `make drift-year`."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulations.drift_year import (
    MONTHS,
    PLANTED,
    PLANTED_MONTHS,
    PlantedChange,
    SteadyShop,
    log_months,
    report_of,
    steady_shop,
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SteadyShop:
    made = steady_shop(tmp_path_factory.mktemp("shop"), customers=2_000, seed=3)
    log_months(made.folder / "log", made.model, made.steady)
    return made


def test_rows_that_training_counted_do_not_differ_from_its_counts_in_inputs_or_scores(
    shop: SteadyShop, tmp_path: Path
) -> None:
    log_months(tmp_path / "log", shop.model, {1: shop.counted})

    found = report_of(tmp_path / "log", tmp_path / "out", shop.model, 1)

    assert found["baseline"]["rows"] == found["entities"] == len(shop.counted)
    assert len(shop.model.contract.inputs) + 1 == len(found["columns"])
    assert [] == [column["column"] for column in found["columns"] if column["psi"] > 1e-9]


@pytest.mark.parametrize("baseline", ["training", "promoted"])
def test_twelve_monthly_reports_of_a_shop_that_stays_as_it_is_say_nothing(
    shop: SteadyShop, tmp_path: Path, baseline: str
) -> None:
    months = range(1 if baseline == "training" else 2, MONTHS + 1)
    reports = [report_of(shop.folder / "log", tmp_path, shop.model, month, baseline) for month in months]

    assert [[]] * len(months) == [report["drifted"] for report in reports]
    assert all(report["entities"] > 700 for report in reports)
    left_out = [report["older_left_out"] for report in reports]
    assert left_out == sorted(left_out), "the oldest of a shop that began two years ago are older every month"
    assert left_out[-1] > 500


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_change_that_is_planted_in_the_steady_shop_is_named(
    shop: SteadyShop, tmp_path: Path, planted: PlantedChange
) -> None:
    month = PLANTED_MONTHS[-1]
    rows = planted.change(shop.steady[month], np.random.default_rng(1)) if planted.change else shop.raised()[month]
    log_months(tmp_path / "log", shop.model, {month: rows})

    found = report_of(tmp_path / "log", tmp_path / "out", shop.model, month)

    assert not set(planted.columns).isdisjoint(found["drifted"])
