"""The image of the jobs holds all that they read from their own rooms, files that are no Python included."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.image.builder import Builder
from deploy.image.jobs_image import ROOT, build


@dataclass(frozen=True)
class RecordingBuilder(Builder):
    """Notes the files of the context and builds nothing."""

    seen: list[Path]

    def build(self, context: Path, image: str, options: Sequence[str]) -> None:
        del image, options
        self.seen.extend(file.relative_to(context) for file in context.rglob("*") if file.is_file())


def test_the_templates_of_reports_go_along() -> None:
    templates = {file.relative_to(ROOT) for file in (ROOT / "jobs/reports/templates").iterdir()}
    builder = RecordingBuilder("docker", [])

    build(builder, "image", [])

    assert Path("jobs/reports/templates/page.html") in templates
    assert templates <= set(builder.seen)
