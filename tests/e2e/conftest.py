"""What several modules have together, because it takes minutes to make."""

import pytest

from tests.e2e.household_place import Households, household_place


@pytest.fixture(scope="session")
def households(tmp_path_factory: pytest.TempPathFactory) -> Households:
    return household_place(tmp_path_factory.mktemp("households"))
