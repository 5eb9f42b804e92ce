"""Text is read and written as UTF-8 whatever the locale says: no file is opened without saying so."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loop import SOURCE, bare_environment

ROOMS = ("artefacts", "contract", "scoring", "service", "jobs", "training", "feature_repo", "deploy", "benchmarks")
FILES = sorted(file for room in ROOMS for file in (SOURCE / room).rglob("*.py"))


def without_encoding(source: str) -> Iterator[int]:
    """Lines of calls that take the locale's encoding."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        if "encoding" in named:
            continue
        if name in ("read_text", "write_text") and len(call.args) < (2 if name == "write_text" else 1):
            yield call.lineno
        if name in ("open", "fdopen") and _is_text(call, named, of_path=isinstance(call.func, ast.Attribute)):
            yield call.lineno
        if name in ("run", "Popen", "check_output") and isinstance(named.get("text"), ast.Constant):
            yield call.lineno


def _is_text(call: ast.Call, named: dict[str | None, ast.expr], of_path: bool) -> bool:
    modes = [a.value for a in [*call.args, *named.values()] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if any(set(mode) <= set("rwaxb+t") and "b" in mode for mode in modes):
        return False
    # `descriptor = os.open(...)` and our own `open` methods take no mode in letters.
    return any(set(mode) <= set("rwax+t") for mode in modes) or not of_path


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(SOURCE)) for file in FILES])
def test_no_file_and_no_output_is_read_in_the_locales_encoding(file: Path) -> None:
    assert [] == list(without_encoding(file.read_text(encoding="utf-8")))


def test_what_it_looks_for_is_found() -> None:
    found = without_encoding(
        "a.read_text()\na.write_text(x)\nopen(a)\na.open('w')\nos.fdopen(a, 'a')\nsubprocess.run(a, text=True)\n"
    )

    assert [1, 2, 3, 4, 5, 6] == sorted(found)


def test_what_other_tools_read_in_the_locales_encoding_is_ascii() -> None:
    (SOURCE / "feature_repo" / "feature_store.yaml").read_text(encoding="ascii")


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize("room", ["jobs", "training", "service"])
def test_a_command_prints_in_a_locale_that_knows_ascii_alone(room: str, tmp_path: Path) -> None:
    tag = tmp_path / "märz" / "tag"
    tag.parent.mkdir()
    tag.write_bytes(b"\xe9")
    commands = {
        "jobs": ["score-batch", "--out", str(tmp_path / "out")],
        "training": ["check-contracts", str(tag)],
        "service": ["new-key", "märz"],
    }

    done = subprocess.run(
        [sys.executable, "-m", room, *commands[room]],
        cwd=SOURCE,
        env={**bare_environment(tmp_path), **ASCII, "MODEL_TAG_PATH": str(tag), "REDIS_URL": "redis://127.0.0.1:1"},
        capture_output=True,
        check=False,
    )

    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.isascii()
    assert b"error: " in done.stderr
    assert b"Traceback" not in done.stderr
