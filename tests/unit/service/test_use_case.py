"""Which use case a process serves: that of its Bento, else that of its environment."""

import pytest

from service.errors import StartupError
from service.use_case import refuse_another_use_case, with_use_case

SPEND = "use_cases/spend"


def test_a_source_tree_serves_what_the_environment_names() -> None:
    assert {"USE_CASE": SPEND} == with_use_case({"USE_CASE": SPEND}, "")
    assert {} == with_use_case({}, "")


def test_a_bento_serves_what_it_was_built_for() -> None:
    assert {"A": "b", "USE_CASE": SPEND} == with_use_case({"A": "b"}, SPEND)


@pytest.mark.parametrize("given", [{}, {"USE_CASE": ""}, {"USE_CASE": SPEND}, {"USE_CASE": f"{SPEND}/"}])
def test_its_own_use_case_is_not_refused(given: dict[str, str]) -> None:
    refuse_another_use_case(given, SPEND)
    refuse_another_use_case(given, "")


def test_another_use_case_is_refused_by_name() -> None:
    with pytest.raises(
        StartupError, match=r"^USE_CASE is 'training/churn', but this Bento was built for '.*spend'; unset"
    ):
        refuse_another_use_case({"USE_CASE": "training/churn"}, SPEND)
