"""A use case is loaded from the folder that USE_CASE names, or refused in one line."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from artefacts.addresses import PROJECT_ROOT
from training.churn.use_case import USE_CASE
from training.errors import UseCaseError
from training.use_case_folder import current_use_case, load_use_case

_WRITTEN = """
from training.use_case import Binary, ByFeature, UseCase
USE_CASE = UseCase(
    name="{name}", feature_service="churn_v1", task=Binary("churn", ("no", "yes")), labels=None, candidates={{}},
    baseline=ByFeature("recency"),
)
"""


@pytest.fixture
def inside() -> Iterator[Path]:
    folder = PROJECT_ROOT / "var" / "a_use_case_of_a_test"
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


def written(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "use_case.py").write_text(text)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(UseCaseError) as raised:
        load_use_case(folder)
    return str(raised.value)


def test_the_default_is_the_shipped_use_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USE_CASE", raising=False)

    assert USE_CASE is current_use_case()


def test_a_folder_inside_or_outside_the_project_is_loaded(inside: Path, tmp_path: Path) -> None:
    for folder in (inside, tmp_path / "spend"):
        assert folder.name == load_use_case(written(folder, _WRITTEN.format(name=folder.name))).name


def test_a_module_beside_it_is_imported_by_a_relative_import_wherever_the_folder_is(
    inside: Path, tmp_path: Path
) -> None:
    for folder in (inside, tmp_path / "spend"):
        folder.mkdir(exist_ok=True)
        (folder / "naming.py").write_text(f"NAME = '{folder.name}'")
        text = "from .naming import NAME\n" + _WRITTEN.replace('"{name}"', "NAME").format()

        assert folder.name == load_use_case(written(folder, text)).name


def test_two_folders_of_one_name_keep_their_modules_apart(tmp_path: Path) -> None:
    for owner in ("one", "two"):
        folder = tmp_path / owner / "spend"
        folder.mkdir(parents=True)
        (folder / "naming.py").write_text(f"NAME = '{owner}'")
        text = "from .naming import NAME\n" + _WRITTEN.replace('"{name}"', "NAME").format()

        assert owner == load_use_case(written(folder, text)).name


def test_an_absolute_import_of_a_module_beside_it_is_refused_with_the_right_one(tmp_path: Path) -> None:
    folder = written(tmp_path, "from naming_of_mine import NAME")
    (folder / "naming_of_mine.py").write_text("NAME = 'spend'")

    assert refusal(folder) == (
        f"USE_CASE: {folder}/use_case.py cannot be imported: ModuleNotFoundError: No module named 'naming_of_mine'; "
        "for the naming_of_mine.py of this folder write `from .naming_of_mine import …`"
    )


def test_a_folder_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    expected = f"USE_CASE: {tmp_path}/none/use_case.py does not exist; name a folder with a use_case.py, as "

    said = refusal(tmp_path / "none")

    assert said.startswith(expected)
    assert "training/churn" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError: invalid syntax"),
        ("raise SystemExit('stopped\\nhere')", "SystemExit: stopped"),
    ],
)
def test_a_module_that_fails_is_one_line_and_its_own_traceback_is_in_the_log(
    text: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = written(tmp_path, text)

    found = refusal(folder)

    assert found.startswith(f"USE_CASE: {folder}/use_case.py cannot be imported: {said}")
    assert "\n" not in found
    assert "Traceback" in caplog.text
    assert f'File "{folder}/use_case.py", line 1' in caplog.text


@pytest.mark.parametrize(
    ("text", "what"), [("", "nothing"), ("USE_CASE = None", "nothing"), ("USE_CASE = {}", "a dict")]
)
def test_a_module_without_a_use_case_is_refused_with_what_it_has(text: str, what: str, tmp_path: Path) -> None:
    assert refusal(written(tmp_path, text)) == (
        f"USE_CASE: {tmp_path}/use_case.py defines {what} as USE_CASE; it must be a training.use_case.UseCase"
    )
