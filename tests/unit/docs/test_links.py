"""What the documentation links and names is there: pages, headings, files, make targets."""

import re

import pytest

from tests.loop import SOURCE
from tests.unit.docs.pages import CURRENT, NAMES, PAGES, links, resolves, text_of, without_code

MAKEFILE = (SOURCE / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
ROOMS = {path.name for path in SOURCE.iterdir() if path.is_dir()} - {"var", "keys"}
MADE = ("deploy/secrets/", "feature_repo/feast_monitoring/")
"""Folders that commands make and git ignores."""


def named_paths(text: str) -> set[str]:
    """Paths in backticks that begin with a folder of the repository; `::` before a name in the file, or a line."""
    named = re.findall(r"`([\w.-]+/[\w./*{},-]*)(?:::[\w.]+)?`", without_code(text))
    return {path for path in named if path.partition("/")[0] in ROOMS and not path.startswith(MADE)}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(name: str) -> None:
    assert [] == [link for link in links(text_of(name)) if not resolves(link, name)]


@pytest.mark.parametrize("name", CURRENT)
def test_every_path_that_a_page_names_exists(name: str) -> None:
    assert [] == sorted(path for path in named_paths(text_of(name)) if not list(SOURCE.glob(path.rstrip("/"))))


@pytest.mark.parametrize("name", CURRENT)
def test_every_make_target_that_a_page_names_exists(name: str) -> None:
    for command in re.findall(r"(?:`|^)make ([a-z -]+?)(?:`|$| [A-Z_]+=| +#)", text_of(name), re.MULTILINE):
        assert set(command.split()) <= TARGETS, f"make {command}"


def test_make_help_lists_every_target_a_user_may_call() -> None:
    declared = {t for line in re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE) for t in line.split()}
    described = set(re.findall(r"^([a-z-]+):[^\n]*## ", MAKEFILE, re.MULTILINE))
    assert declared == described


def test_every_make_target_a_user_may_call_is_on_some_page() -> None:
    pages = "\n".join(text_of(name) for name in CURRENT)
    named = {word for command in re.findall(r"\bmake (?:-s )?([a-z][a-z -]*)", pages) for word in command.split()}
    described = set(re.findall(r"^([a-z-]+):[^\n]*## ", MAKEFILE, re.MULTILINE))

    assert set() == described - named - {"help"}


def test_every_page_is_in_an_index() -> None:
    indices = [SOURCE / "docs" / "README.md", SOURCE / "docs" / "operations" / "README.md", SOURCE / "README.md"]
    linked = {
        (index.parent / link.partition("#")[0]).resolve()
        for index in indices
        for link in links(index.read_text(encoding="utf-8"))
    }
    pages = {page for page in PAGES if "adr" not in page.parts and page.name != "CHANGELOG.md"}

    assert set() == {page for page in pages - set(indices) if page.resolve() not in linked}


def test_what_these_tests_look_for_is_found() -> None:
    assert "docs/api.md" in links(text_of("README.md"))
    assert "contract/resolve.py" in named_paths(text_of("README.md"))
    assert not resolves("api.md#no-such-heading", "docs/README.md")
    assert not resolves("no-such-page.md", "docs/README.md")
