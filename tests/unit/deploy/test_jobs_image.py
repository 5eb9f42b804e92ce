"""The image of the jobs holds all that they read from their own rooms, files that are no Python included."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from artefacts.addresses import DEFAULT_USE_CASE
from deploy.image import jobs_image
from deploy.image.builder import Builder, ImageError
from deploy.image.jobs_image import ROOT, build, image_name


@dataclass(frozen=True)
class RecordingBuilder(Builder):
    """Notes the files of the context and builds nothing."""

    seen: list[Path]
    options: list[str] = field(default_factory=list)

    def build(self, context: Path, image: str, options: Sequence[str]) -> None:
        del image
        self.options.extend(options)
        self.seen.extend(file.relative_to(context) for file in context.rglob("*") if file.is_file())


def test_the_templates_of_reports_go_along() -> None:
    templates = {file.relative_to(ROOT) for file in (ROOT / "jobs/reports/templates").iterdir()}
    builder = RecordingBuilder("docker", [])

    build(builder, "image", [], ROOT / DEFAULT_USE_CASE)

    assert Path("jobs/reports/templates/page.html") in templates
    assert templates <= set(builder.seen)


def test_the_image_has_its_own_use_case_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in (*jobs_image.PARTS, "use_cases/spend", "use_cases/another"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "a.py").touch()
    for file in jobs_image.FILES:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.setattr(jobs_image, "ROOT", tmp_path)
    spend, churn = RecordingBuilder("docker", []), RecordingBuilder("docker", [])

    build(spend, "image", [], tmp_path / "use_cases/spend")
    build(churn, "image", [], tmp_path / "training")

    assert {Path("use_cases/spend/a.py")} == {file for file in spend.seen if file.parts[0] == "use_cases"}
    assert not [file for file in churn.seen if file.parts[0] == "use_cases"]
    assert "--build-arg=USE_CASE=use_cases/spend" in spend.options


def test_the_image_is_named_by_the_use_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USE_CASE", raising=False)
    assert "churn-jobs:latest" == image_name()
    monkeypatch.setenv("USE_CASE", "use_cases/spend")
    assert "spend-jobs:latest" == image_name()


def test_the_image_has_the_use_case_whose_features_its_own_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (*jobs_image.PARTS, "use_cases/spend/feature_repo", "use_cases/another", "use_cases/next"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "a.py").touch()
    for file in jobs_image.FILES:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "use_cases/next/features_of").write_text(str(tmp_path / "use_cases/spend"))
    monkeypatch.setattr(jobs_image, "ROOT", tmp_path)
    builder = RecordingBuilder("docker", [])

    build(builder, "image", [], tmp_path / "use_cases/next")

    assert {"next", "spend"} == {file.parts[1] for file in builder.seen if file.parts[0] == "use_cases"}
    assert "--build-arg=USE_CASE=use_cases/next" in builder.options


@pytest.mark.parametrize("folder", ["use_cases/not_there", "/tmp"])  # noqa: S108
def test_a_use_case_that_is_not_there_is_named(folder: str) -> None:
    with pytest.raises(ImageError, match=f"USE_CASE: .*{folder} is no folder below"):
        build(RecordingBuilder("docker", []), "image", [], ROOT / folder)
