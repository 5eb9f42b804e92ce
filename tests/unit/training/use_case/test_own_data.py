"""`make data` of a use case that fetches its own data runs the `fetch` of its `data.py`."""

from pathlib import Path

import pytest

from training.__main__ import main

FETCH = """
def fetch(environ, now, follow_today):
    return None if follow_today else f"{environ['WHERE']}: 3 tins until {now:%Y}"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tins" / "feature_repo").mkdir(parents=True)
    monkeypatch.setenv("USE_CASE", str(tmp_path / "tins"))
    monkeypatch.setenv("WHERE", "cellar")
    return tmp_path / "tins"


def test_it_is_given_the_environment_and_says_what_it_brought(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data.py").write_text(FETCH)

    assert 0 == main(["data"])
    assert "cellar: 3 tins until 20" in capsys.readouterr().out
    assert 0 == main(["data", "--follow-today"])
    assert "" == capsys.readouterr().out


def test_without_it_nothing_is_fetched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["data"])
    assert "data: tins fetches none\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "data.py defines no function 'fetch'; docs/use-cases.md says what it takes"),
        ("import no_such_module", "data.py cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_module_that_cannot_be_used_is_refused_in_one_line(
    folder: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data.py").write_text(text)

    assert 1 == main(["data"])
    assert f"error: USE_CASE: {folder}/{said}" == capsys.readouterr().err.splitlines()[-1]


def test_options_about_orders_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data.py").write_text(FETCH)

    with pytest.raises(SystemExit):
        main(["data", "--synthetic", "5"])

    assert "--synthetic is for orders, and tins has none" in capsys.readouterr().err
