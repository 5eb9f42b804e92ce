"""Every reach into a private part of a library stands in docs/adr/0017-private-parts-of-libraries.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loop import SOURCE

ROOMS = ("artefacts", "contract", "scoring", "feature_repo", "training", "jobs", "service", "benchmarks", "deploy")
OWN_MODULES = {*ROOMS, "tests", *(file.stem for file in (SOURCE / "feature_repo").glob("*.py"))}
NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_make"}
TO_BE_ASSIGNED = {"sys.excepthook"}
"""What Python's documentation tells programs to replace."""
ADR = (SOURCE / "docs" / "adr" / "0017-private-parts-of-libraries.md").read_text()


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def private_part(dotted: str) -> str | None:
    """The name up to its first private part; None if it has none, or is of a module of ours."""
    parts = dotted.split(".")
    if parts[0] in OWN_MODULES:
        return None
    at = next((at for at, part in enumerate(parts) if is_private(part)), None)
    return None if at is None else ".".join(parts[: at + 1])


def imported(tree: ast.AST) -> dict[str, str]:
    """Name in a module → what of a library it stands for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(
                {
                    (a.asname or a.name.partition(".")[0]): (a.name if a.asname else a.name.partition(".")[0])
                    for a in node.names
                }
            )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return {name: dotted for name, dotted in found.items() if dotted.partition(".")[0] not in OWN_MODULES}


def defined(tree: ast.AST) -> Iterator[str]:
    """Names that a module of ours defines: functions, classes, variables, and attributes of `self` and `cls`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) in ("self", "cls")
        ):
            yield node.attr


def reaches(tree: ast.AST, own: set[str]) -> Iterator[str]:
    libraries = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from filter(None, (private_part(alias.name) for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from filter(None, (private_part(f"{node.module}.{alias.name}") for alias in node.names))
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            of_super = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "super"
            if node.attr not in own or of_super:
                yield f".{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            name = node.args[1] if len(node.args) > 1 else None
            if isinstance(name, ast.Constant) and is_private(name.value) and name.value not in own:
                yield f".{name.value!s}"
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            root, _, rest = ast.unparse(node).partition(".")
            if root in libraries and f"{libraries[root]}.{rest}" not in TO_BE_ASSIGNED:
                yield f"{libraries[root]}.{rest}"


def found() -> set[tuple[str, str]]:
    trees = {file: ast.parse(file.read_text()) for room in ROOMS for file in sorted((SOURCE / room).rglob("*.py"))}
    own = {name for tree in trees.values() for name in defined(tree)} | NAMED_TUPLES
    return {(str(file.relative_to(SOURCE)), reach) for file, tree in trees.items() for reach in reaches(tree, own)}


def rows(title: str) -> list[list[str]]:
    """The cells of the table under a heading of the ADR."""
    section = ADR.partition(f"## {title}")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


PRIVATE, OUTSIDE = rows("Names that are private"), rows("Changes from outside through public names")


def test_the_list_is_what_the_code_does() -> None:
    listed = {(where.strip("`"), name) for where, what, *_ in PRIVATE for name in re.findall(r"`([^`]+)`", what)}

    assert listed == found()


@pytest.mark.parametrize(("where", "what"), [(row[0].strip("`"), row[1].strip("`")) for row in OUTSIDE])
def test_what_is_changed_through_public_names_is_still_done_there(where: str, what: str) -> None:
    assert what in (SOURCE / where).read_text()


@pytest.mark.parametrize("row", [*PRIVATE, *OUTSIDE], ids=lambda row: f"{row[0]} {row[1]}")
def test_each_row_says_why_what_breaks_and_which_test_fails(row: list[str]) -> None:
    assert 5 == len([cell for cell in row if cell])
    assert Path(SOURCE, row[4].strip("`")).is_file()


@pytest.mark.parametrize(
    ("code", "reach"),
    [
        ("import numpy._core.umath", "numpy._core"),
        ("from feast.infra.online_stores.helpers import _mmh3", "feast.infra.online_stores.helpers._mmh3"),
        ("from uvicorn._types import Scope", "uvicorn._types"),
        ("def read(store): return store._registry", "._registry"),
        ("def read(store): return getattr(store, '_registry', None)", "._registry"),
        ("class Own(Base):\n    def _start(self): super()._start()", "._start"),
        ("import typeguard\ntypeguard.typechecked = None", "typeguard.typechecked"),
        ("from uvicorn.protocols.http import auto\nauto.Auto = None", "uvicorn.protocols.http.auto.Auto"),
    ],
)
def test_a_reach_is_found(code: str, reach: str) -> None:
    tree = ast.parse(code)

    assert [reach] == list(reaches(tree, set(defined(tree))))


@pytest.mark.parametrize(
    "code",
    [
        "from contract._own import thing",
        "class Own:\n    def _a(self): pass\n    def b(self, other): return self._a() or other._a()",
        "import os\nos.environ['A'] = 'b'",
        "def of(store): return store.__class__.__name__",
    ],
)
def test_what_is_ours_or_public_is_no_reach(code: str) -> None:
    tree = ast.parse(code)

    assert [] == list(reaches(tree, set(defined(tree))))
