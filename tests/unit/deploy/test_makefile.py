"""make's variables reach commands as they were given: no shell and no make reads what stands in them."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from artefacts.addresses import PROJECT_ROOT

MAKEFILE = (PROJECT_ROOT / "Makefile").read_text()
DESCRIBED = {
    target: set(re.findall(r"\b([A-Z_]{2,})=", text))
    for target, text in re.findall(r"^([a-z-]+):[^\n]*## (.*)$", MAKEFILE, re.MULTILINE)
}
TAKES = {
    target: {each.partition("=")[0] for each in names.split()}
    for target, names in re.findall(r"^([a-z-]+)_takes := (.*)$", MAKEFILE, re.MULTILINE)
}
FORWARDED = set().union(*TAKES.values()) | {
    each.partition("=")[0]
    for names in re.findall(r"\$\(call options,([A-Z][^$)]*)\)", MAKEFILE)
    for each in names.split()
}
"""By the one rule that makes options of variables."""
WORDS = {"OPTIONS", "CONTRACTS", "TESTS"}
"""Hold several arguments, between spaces."""
SWITCHES = {"COMPLETE", "FORCE", "FULL", "ONCE", "REPLACE", "TAKE_OVER"}
OTHERS = {"up", "deploy", "serve", "bench", "test", "data"}
"""Need other programs, or numbers, or orders; what is said of all of the Makefile's text holds for them, too."""

VALUES = [
    "`touch ran`",
    '";touch ran;"',
    "';touch ran;'",
    "$(touch ran)",
    "$(shell touch ran)",
    "${shell touch ran}",
    "$(eval X:=$(shell touch ran))",
    "$(info $(shell touch ran))",
    "a; touch ran",
    "a|touch ran",
    "a&touch ran",
    "a\ntouch ran",
    "a\n\ttouch ran",
    "a\nSHELL=/bin/false",
    "a\rb",
    "a#b",
    "a'b",
    'a"b',
    "$",
    "$$HOME",
    "$HOME",
    "$(",
    "$(call",
    "a\\",
    "a\\\\",
    "-x",
    "--file=x",
    "%d%s",
    "*",
    "~",
    "a b  c",
    "a=b:c",
    "\x1b[31m",
    "é [1] {x}",
]

# Says with which arguments it was called, in the place of each room: what the shell makes of a recipe is asked here.
TELL = "import json, sys; open('told', 'a').write(json.dumps(sys.argv[1:]) + chr(10))\n"


@dataclass(frozen=True)
class Project:
    """The Makefile alone, above rooms that only tell how they were called."""

    root: Path

    def make(self, *arguments: str, **environment: str) -> list[list[str]]:
        """Run a target whose prerequisites are there; how commands were called."""
        told = self.root / "told"
        told.unlink(missing_ok=True)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        done = subprocess.run(
            ["make", "--old-file=imported", "--old-file=redis", *arguments],
            cwd=self.root,
            env={**clean, "VENV": "venv", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not (self.root / "ran").exists(), f"a value was run: {arguments}"
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(PROJECT_ROOT / "Makefile", root)
    shutil.copytree(PROJECT_ROOT / "feature_repo", root / "feature_repo")
    for room in ("jobs", "training", "service", "benchmarks", "deploy/image"):
        (root / room).mkdir(parents=True)
        (root / room / "__main__.py").write_text(TELL)
    for module in ("containerize", "jobs_image", "publish", "push", "sbom"):
        (root / "deploy" / "image" / f"{module}.py").write_text(TELL)
    for file in ("requirements/dev.txt", "venv/.installed", "var/data/orders.parquet", "var/stamps/applied"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    (root / "venv" / "bin").mkdir()
    (root / "venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (root / "venv" / "bin" / "python").chmod(0o755)
    return Project(root)


@pytest.mark.parametrize("off", ["0", "no", "false", "off", ""])
@pytest.mark.parametrize("given", ["argument", "environment"])
def test_a_switch_that_is_off_is_as_if_it_was_not_set(project: Project, off: str, given: str) -> None:
    arguments, environment = ([f"FORCE={off}"], {}) if given == "argument" else ([], {"FORCE": off})

    assert [["promote"]] == project.make("promote", *arguments, **environment)
    assert "--force" in project.make("promote", "FORCE=1")[0]


def test_a_variable_that_no_target_takes_is_named(project: Project) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "help", "ORDER=mine.csv", "SERVICE_MAX_BATCH=5", "TO=1"],
        cwd=project.root,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "no target takes ORDER, see make help" in done.stderr


@pytest.mark.parametrize("target", ["data", "erase", "init", "promote", "retrain", "run", "train"])
def test_what_takes_minutes_or_cannot_be_undone_stops_at_a_misspelt_variable(project: Project, target: str) -> None:
    done = subprocess.run(
        ["make", target, "TABEL=mine.csv"],
        cwd=project.root,
        env={"PATH": os.environ["PATH"], "VENV": "venv"},
        capture_output=True,
        text=True,
        check=False,
    )

    said = "no target takes TABEL, see make help; nothing was done. To pass it to a program, write TABEL=… before make."
    assert (2, "") == (done.returncode, done.stdout)
    assert said in done.stderr


def test_what_a_program_alone_knows_stands_before_make(project: Project) -> None:
    assert [["promote"]] == project.make("promote", OMP_NUM_THREADS="1")
    assert [["promote"]] == project.make("promote", "PGHOST=db", "SHOP_TABLE=/tables/shop.parquet")


def test_each_setting_of_the_page_may_be_given_to_make(project: Project) -> None:
    page = (PROJECT_ROOT / "docs" / "settings.md").read_text()
    settings = re.findall(r"^\| `([A-Z][A-Z_0-9]+)`", page, re.MULTILINE)
    done = subprocess.run(
        ["make", "help", *(f"{name}=1" for name in settings if name != "USE_CASE")],
        cwd=project.root,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert len(settings) > 90
    assert "no target takes" not in done.stderr


def test_no_value_is_written_into_a_rule_or_a_recipe() -> None:
    """Whether it comes from the command line or from the environment, and whatever stands in it."""
    (values,) = re.findall(r"^VALUES_OF := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    known = set(values.replace("\\", " ").split())

    assert set().union(*DESCRIBED.values()) <= known
    assert [
        line for line in MAKEFILE.splitlines() if re.search(rf"(?<!\$)\$[({{](?:{'|'.join(known)})[)}}:]", line)
    ] == []
    assert "CURDIR" not in MAKEFILE
    read = set(re.findall(r"\$\$\{?([A-Z_]{2,})\b", MAKEFILE)) | FORWARDED
    assert read - known <= {"PWD", "NAME", "SERVICE_IMAGE"}
    assert known >= FORWARDED


@pytest.mark.parametrize("target", sorted(TAKES))
def test_a_target_is_described_with_the_variables_that_it_forwards(target: str) -> None:
    assert DESCRIBED[target] == TAKES[target]


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_a_request_id_reaches_the_command_as_it_was_given(project: Project, value: str) -> None:
    assert [["why", f"--request={value}"]] == project.make("why", REQUEST=value)
    # make itself takes the spaces away that stand before the value of its command line
    assert [["why", f"--request={value}"]] == project.make("why", f"REQUEST={value}")


@pytest.mark.parametrize(
    "value", ["';touch ran;$(shell touch ran)`touch ran`\"", "a\nPYTHON=$(shell touch ran)"], ids=ascii
)
@pytest.mark.parametrize(
    "target", sorted(target for target, names in DESCRIBED.items() if names and target not in OTHERS)
)
def test_every_value_of_every_target_reaches_its_command(project: Project, target: str, value: str) -> None:
    names = DESCRIBED[target]
    given = [f"{name}={value}" for name in sorted(names)]

    called = project.make(target, *given)
    assert called[-1] == project.make(target, **dict.fromkeys(names, value))[-1]
    told = "\n".join(argument for call in called for argument in call)
    for name in names - WORDS - SWITCHES:
        assert value in told, name
    assert all(name not in names or value.split()[0] in told for name in WORDS)


def test_a_value_that_nobody_reads_is_not_run_either(project: Project) -> None:
    assert [["why", "--request=a"]] == project.make("why", "REQUEST=a", "ANYTHING=$(shell touch ran)`touch ran`")


def test_nobody_adds_to_the_variables_that_a_target_forwards(project: Project) -> None:
    added = "`touch ran`"

    assert [["models"]] == project.make("models", models_takes=added)
    assert [["models"]] == project.make("models", f"models_takes={added}")


@pytest.mark.parametrize(
    "name",
    ["my orders.csv", "it's [1] 100% #2 ü.csv", "a:b;touch ran.csv", "a|b=c*.csv", "$(shell touch ran).csv", "(x).csv"],
)
def test_orders_may_have_any_name_and_are_taken_when_they_are_newer(project: Project, name: str) -> None:
    def taken(*more: str) -> bool:
        done = subprocess.run(
            ["make", "var/stamps/ordered", f"ORDERS={given}", f"ORDERS_PATH={taken_to}", *more],
            cwd=project.root,
            env={**os.environ, "VENV": "venv"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not (project.root / "ran").exists()
        assert done.returncode == 0, done.stderr
        return "orders:" in done.stdout

    given, taken_to = project.root / name, project.root / f"taken {name}.parquet"
    given.touch()
    taken_to.touch()
    os.utime(given, (1_000_000_000, 1_000_000_000))
    assert not taken()
    os.utime(taken_to, (999_999_999, 999_999_999))
    assert taken()


def test_orders_that_are_not_there_are_said_in_one_line(project: Project) -> None:
    done = subprocess.run(
        ["make", "features", "ORDERS=no such.csv"],
        cwd=project.root,
        env={**os.environ, "VENV": "venv"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "error: ORDERS=no such.csv: no such file" == done.stderr.splitlines()[0]


def test_other_folders_and_a_checkout_that_moved_are_other_stamps(project: Project, tmp_path: Path) -> None:
    place = Project(tmp_path / "first")
    shutil.copytree(project.root, place.root)
    commands = [["features"], ["apply"], ["materialize"]]

    assert commands == place.make("materialize")
    assert [["materialize"]] == place.make("materialize")
    for name in ("OFFLINE_STORE_DIR", "FEAST_REGISTRY", "ORDERS_PATH", "STREAMED_ORDERS_DIR", "OFFLINE_STORE_TYPE"):
        value = str(place.root / "var/data/orders.parquet")
        assert commands == place.make("materialize", f"{name}={value}"), name
        assert [["materialize"]] == place.make("materialize", **{name: value}), name
        assert commands == place.make("materialize"), name
    moved = Project(tmp_path / "second")
    place.root.rename(moved.root)
    assert commands == moved.make("materialize")
    assert [["features"], ["apply"]] == moved.make("features", "apply", OFFLINE_STORE_DIR="one")
    assert [["materialize"]] == moved.make("materialize", OFFLINE_STORE_DIR="one")


def test_an_environment_that_was_moved_is_made_again_and_one_behind_a_link_is_not(
    project: Project, tmp_path: Path
) -> None:
    root = tmp_path / "checkout"
    shutil.copytree(project.root, root)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *venv*) echo "$*" >> told;; esac\n')
    python.chmod(0o755)
    (tmp_path / "link").symlink_to(root / "venv")

    def made(first_lines: str, venv: str = "venv") -> list[str]:
        (root / "venv" / "bin" / "feast").write_text(first_lines)
        (root / "told").unlink(missing_ok=True)
        subprocess.run(
            ["make", "installed", f"VENV={venv}", f"PYTHON={python}"], cwd=root, check=True, capture_output=True
        )
        return (root / "told").read_text().splitlines() if (root / "told").exists() else []

    here = str(root / "venv" / "bin" / "python")
    assert made(f"#!{here}\nimport sys\n") == []
    assert made(f"#!{here}3.11\nimport sys\n", venv=str(tmp_path / "link")) == []
    assert made("#!/usr/bin/env bash\nexec feast\n") == []
    assert ["-m venv --clear venv"] == made("#!/a/moved one/.venv/bin/python3\nimport sys\n")
    long = "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\nimport sys\n"
    assert made(long.format(here)) == []
    assert ["-m venv --clear venv"] == made(long.format("/a/moved one/.venv/bin/python"))


def test_until_speaks_of_the_orders_where_these_are_given(project: Project) -> None:
    time, orders = "--until=2026-01-31T00:00", "var/data/orders.parquet"

    called = project.make("data", "materialize", f"ORDERS={orders}", "UNTIL=2026-01-31T00:00")
    assert ["data", f"--orders={orders}", time] == called[0]
    assert ["materialize"] == called[-1]
    assert ["materialize", time] == project.make("materialize", "UNTIL=2026-01-31T00:00")[-1]
    daily = project.make("daily", "UNTIL=2026-01-31T00:00", "COMPLETE=1")
    assert (["data", "--again", time, "--complete"], ["materialize"]) == (daily[0], daily[-1])


@pytest.mark.parametrize("room", ["training/data", "scoring", "artefacts/process", "contract"])
def test_newer_code_is_told_and_trains_nothing_where_there_is_a_model(
    project: Project, tmp_path: Path, room: str
) -> None:
    root = tmp_path / "checkout"
    shutil.copytree(project.root, root)
    (root / room).mkdir(parents=True, exist_ok=True)
    (root / "var/model_tag").write_text("churn:v1-0\n")
    (root / "told").unlink(missing_ok=True)
    for file in root.rglob("*"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    os.utime(root / "requirements/dev.txt", (1, 1))

    def said() -> str:
        return subprocess.run(
            ["make", "first-model"],
            cwd=root,
            env={**{n: v for n, v in os.environ.items() if not n.startswith("MAKE")}, "VENV": "venv"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "note:" not in said()
    (root / room / "new.py").touch()
    assert "the code that makes models is newer than the model, which stays: make retrain FORCE=1" in said()
    assert not (root / "told").exists()
