"""The value sets, rendered."""

import pytest

from tests.integration.deploy.chart import VALUE_SETS, Manifest, render, values_of


@pytest.fixture(scope="module", params=list(VALUE_SETS))
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(values_of(request.param))


@pytest.fixture(scope="module")
def everything() -> list[Manifest]:
    return render(values_of("everything"))
