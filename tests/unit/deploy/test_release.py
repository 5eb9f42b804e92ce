"""What a release does before anything leaves this machine."""

import shutil
import subprocess
from pathlib import Path

import pytest

from artefacts.addresses import PROJECT_ROOT
from deploy.image.builder import ImageError
from deploy.image.push import check_name, main

BENTO = '"$PWD/var/release/release.bento"'
"""Absolute: bentoml takes any other path for one below the root folder."""


def test_a_release_builds_the_registry_s_champion_and_trains_nothing(tmp_path: Path) -> None:
    """In a clean clone no stamp says that a model was trained, and make must not do what is missing."""
    told = _told(tmp_path, "release")

    steps = ["-m training import-model", "bentoml build", "-m deploy.image.containerize", "-m deploy.image.sbom"]
    assert sorted(steps, key=told.index) == steps
    for step in ("training train", "training data", "jobs features"):
        assert step not in told


def _told(folder: Path, target: str) -> str:
    """The commands of a target in a clean clone."""
    shutil.copy(PROJECT_ROOT / "Makefile", folder)
    shutil.copytree(PROJECT_ROOT / "requirements", folder / "requirements")
    command = ["make", "--dry-run", target, f"VENV={folder / '.venv'}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_champion_is_packed_once_for_all_processors(tmp_path: Path) -> None:
    told = _told(tmp_path, "release-bento")

    steps = ["-m training import-model", "bentoml build", f"bentoml export churn:latest {BENTO}"]
    assert sorted(steps, key=told.index) == steps


def test_the_images_of_a_processor_ask_no_registry_and_build_no_bento(tmp_path: Path) -> None:
    told = _told(tmp_path, "release-images")

    steps = [f"bentoml import {BENTO}", "-m deploy.image.containerize", "-m deploy.image.jobs_image"]
    steps += ["-m deploy.image.sbom --bento=", "-m deploy.image.sbom --jobs"]
    assert sorted(steps, key=told.index) == steps
    for step in ("-m training", "bentoml build"):
        assert step not in told


@pytest.mark.parametrize(
    "name", ["", "churn-service", "churn-service:v1", "registry/churn-service", "registry/churn-service:latest"]
)
def test_an_image_is_pushed_under_the_name_of_a_release_only(name: str) -> None:
    with pytest.raises(ImageError, match=r"JOBS_IMAGE=.* is not registry/repository:tag"):
        check_name("JOBS_IMAGE", name)


def test_half_a_release_is_not_pushed(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == main(["--image", "registry/churn-service:v1", "--jobs-image", "", "--builder", "no such builder"])
    assert "error: JOBS_IMAGE= is not registry/repository:tag, and never latest\n" == capsys.readouterr().err


def test_help_is_asked_for_in_either_way(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("-h", "--help"):
        with pytest.raises(SystemExit) as end:
            main([option])

        assert 0 == end.value.code
        assert "--jobs-image" in capsys.readouterr().out
