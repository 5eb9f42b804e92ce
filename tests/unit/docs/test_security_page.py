"""docs/security.md names a test for every stop; each of them is there."""

import ast
import re
from collections import defaultdict

import pytest

from tests.loop import SOURCE

NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (SOURCE / "docs" / "security.md").read_text())


def functions_of(path: str) -> set[str]:
    tree = ast.parse((SOURCE / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_every_test_that_the_page_names_exists(path: str) -> None:
    named = defaultdict(set)
    for file, test in NAMED:
        named[file].add(test)
    assert set() == named[path] - functions_of(path)


def test_the_page_names_a_test_in_every_row_that_says_what_stops_something() -> None:
    page = (SOURCE / "docs" / "security.md").read_text()
    _, *parts = re.split(r"^## ", page, flags=re.MULTILINE)
    for part in parts:
        title, _, text = part.partition("\n")
        rows = [row for row in re.findall(r"^\|.*\|$", text, re.MULTILINE) if "stop" in text and title != "Secrets"]
        assert [] == [row for row in rows[2:] if "::test_" not in row], title
