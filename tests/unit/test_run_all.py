"""`make test` leaves no test out and runs none twice."""

from collections import Counter
from pathlib import Path

from tests.loop import SOURCE
from tests.run_all import processes


def files_of(arguments: list[str]) -> set[Path]:
    """Test files that pytest collects with these arguments."""

    def below(paths: list[str]) -> set[Path]:
        return {
            file
            for path in map(SOURCE.joinpath, paths)
            for file in ([path] if path.is_file() else path.rglob("test_*.py"))
        }

    ignored = [argument.removeprefix("--ignore=") for argument in arguments if argument.startswith("--ignore=")]
    return below([argument for argument in arguments if not argument.startswith("--")]) - below(ignored)


def test_each_test_file_runs_in_one_of_the_processes() -> None:
    counted = Counter(file for arguments in processes() for file in files_of(arguments))

    assert dict.fromkeys((SOURCE / "tests").rglob("test_*.py"), 1) == counted


def test_what_measures_time_comes_last() -> None:
    for arguments in processes():
        paths = [argument for argument in arguments if not argument.startswith("--")]
        measured = [path.startswith("tests/faults") for path in paths]
        assert sorted(measured) == measured
