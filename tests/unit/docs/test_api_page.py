"""docs/api.md names every call and every error of the table of endpoints."""

import re

import pytest

from service.api.endpoints import ENDPOINTS, Endpoint
from service.errors import ServiceError
from tests.unit.docs.pages import text_of

PAGE = text_of("docs/api.md")


def test_the_page_has_a_row_for_every_endpoint_and_for_no_other_call() -> None:
    named = set(re.findall(r"^\| `(\w+ /\w+)` \|", PAGE, re.MULTILINE))

    assert {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS} <= named
    assert {call for call in named if call.startswith("POST")} == {
        f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if endpoint.method == "POST"
    }


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_the_page_has_status_and_code_of_every_error_of_an_endpoint(endpoint: Endpoint) -> None:
    stated = {error for error in endpoint.errors if f"{error.status} `{error.code}`" in PAGE}

    assert set(endpoint.errors) == stated


def test_the_page_has_every_code_that_a_client_can_get() -> None:
    codes = {kind.code for kind in ServiceError.__subclasses__()}

    assert codes == {code for code in codes if f"`{code}`" in PAGE}
