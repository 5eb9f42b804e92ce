"""docs/api.md lists the calls, the errors, and each call's errors, as `ENDPOINTS` and the error classes have them."""

import re

from service.api.endpoints import ENDPOINTS
from service.errors import ServiceError
from tests.unit.docs.pages import text_of

PAGE = text_of("docs/api.md")
OUTSIDE_THE_TABLE = {"GET /livez", "GET /readyz", "GET /metrics", "GET /docs.json"}
"""What BentoML answers, and pages that are no calls."""


def kinds(error: type[ServiceError] = ServiceError) -> set[tuple[int, str]]:
    """Status and code of every error."""
    return {pair for kind in error.__subclasses__() for pair in {(kind.status, kind.code)} | kinds(kind)}


def rows(heading: str) -> list[list[str]]:
    """Cells of the table below its row of titles."""
    table = PAGE.split(f"| {heading} |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()[2:]]


def test_every_call_is_on_the_page_and_no_other() -> None:
    shown = {match for cells in rows("call | body | answer") for match in re.findall(r"^`(\w+ /[\w.]+)`", cells[0])}

    assert {f"{each.method} {each.path}" for each in ENDPOINTS} | OUTSIDE_THE_TABLE == shown


def test_every_error_is_on_the_page_with_its_status_and_no_other() -> None:
    shown = {(int(status), code) for status, code in re.findall(r"(\d{3}) `([\w<>]+)`", PAGE.split("## Errors")[1])}

    assert kinds() | {(500, "internal")} == shown


def test_each_call_has_its_errors() -> None:
    codes = {f"`{each.path}`": {error.code for error in each.errors} for each in ENDPOINTS}
    shown: dict[str, set[str]] = {}
    for call, listed in rows("call | error codes"):
        others = (path for path in shown if f"those of {path}" in listed)
        shown[call] = set(re.findall(r"`([\w<>]+)`", listed)).union(*(shown[path] for path in others))

    assert codes == shown
