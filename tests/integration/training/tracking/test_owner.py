"""A registered model belongs to the use case that trained it."""

import pytest

from tests.integration.training.conftest import NAME, Registry
from training.errors import UseCaseError
from training.tracking.owner import USE_CASE, refuse_other_owner


def test_another_use_case_with_the_models_name_is_refused_by_name(models: Registry) -> None:
    client = models.opened.client
    client.set_registered_model_tag(NAME, USE_CASE, "training/churn")

    refuse_other_owner(client, NAME, "training/churn")
    with pytest.raises(UseCaseError) as raised:
        refuse_other_owner(client, NAME, "use_cases/spend")

    assert str(raised.value) == (
        "use case use_cases/spend: name: the registered model 'test_churn' is that of the use case training/churn; "
        "give this one another name. If the folder was moved, write use_cases/spend into the model's tag 'use_case' in "
        "MLflow"
    )


def test_a_model_of_an_earlier_version_or_of_nobody_can_be_trained(models: Registry) -> None:
    refuse_other_owner(models.opened.client, NAME, "use_cases/spend")
    refuse_other_owner(models.opened.client, "new", "use_cases/spend")
