"""A version that the use case does not fit is refused by name, not compared."""

from dataclasses import replace

import pytest

from tests.integration.training.conftest import ALIKE, GOOD, NAME, SETTINGS, Registry
from training.bento_import import prepare
from training.churn.use_case import USE_CASE
from training.errors import TrainingError
from training.promotion.judgement import compare_versions
from training.tasks import Regression
from training.tracking.registry import version_of
from training.use_case import at_most


def test_a_use_case_of_another_task_or_headline_population_is_refused(models: Registry) -> None:
    champion, candidate = (
        prepare(models.opened.client, version_of(models.opened.client, NAME, n)) for n in (GOOD, ALIKE)
    )
    spend = replace(USE_CASE, task=Regression("spend"), headline=None)
    recent = replace(
        USE_CASE, populations={"recent": at_most(SETTINGS.recency_feature, 9)}, headline=("recent", "roc_auc")
    )

    with pytest.raises(
        TrainingError, match="its task is not that of the use case 'customer_churn'; does USE_CASE name"
    ):
        compare_versions(spend, champion, candidate, SETTINGS)
    with pytest.raises(TrainingError, match="its test rows do not say who belongs to 'recent'"):
        compare_versions(recent, champion, candidate, SETTINGS)
