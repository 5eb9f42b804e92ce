"""The pages of documentation, and what they say in links, headings and backticks."""

import re
from collections import Counter
from pathlib import Path

from tests.loop import SOURCE

PAGES = sorted(
    [*SOURCE.glob("*.md"), *(SOURCE / "docs").rglob("*.md")], key=lambda page: page.relative_to(SOURCE).as_posix()
)
NAMES = [page.relative_to(SOURCE).as_posix() for page in PAGES]
CURRENT = [name for name in NAMES if name != "CHANGELOG.md"]
"""Pages about what is there now; the changelog also names what is gone."""


def text_of(name: str) -> str:
    return (SOURCE / name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    """The text without fenced blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    found: Counter[str] = Counter()
    result = set()
    for heading in re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        result.add(anchor if not found[anchor] else f"{anchor}-{found[anchor]}")
        found[anchor] += 1
    return result


def links(text: str) -> list[str]:
    """Targets of links to files of the repository, or to anchors of the page itself."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code(text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def resolves(link: str, page: str) -> bool:
    """Whether the file is there, and the heading in it."""
    path, _, anchor = link.partition("#")
    file: Path = (SOURCE / page).parent / path if path else SOURCE / page
    if not file.exists():
        return False
    return not anchor or (file.suffix == ".md" and anchor in anchors(file.read_text(encoding="utf-8")))
