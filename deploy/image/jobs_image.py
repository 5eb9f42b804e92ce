"""`make jobs-image`: the image of the jobs, training and MLflow's server, from the rooms of this source tree."""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from artefacts.addresses import Artefacts, features_of
from deploy.image.builder import (
    Builder,
    ImageError,
    builder_option,
    find_builder,
    one_line,
    options_argument,
    use_case_name,
)
from deploy.image.containerize import FOLDER, index_secrets

ROOT = FOLDER.parents[1]
PARTS = ("artefacts", "contract", "deploy/jobs", "feature_repo", "jobs", "scoring", "training")
FILES = ("pyproject.toml", "requirements/jobs-image.txt")


def image_name() -> str:
    """The image's local name, by the use case."""
    return f"{use_case_name()}-jobs:latest"


def build(builder: Builder, image: str, options: Sequence[str], use_case: Path) -> None:
    """Build it.

    Args:
        use_case: its folder, whose jobs the image runs. Of `use_cases/`, the image has that one, and the one whose
            features it uses.

    Raises:
        ImageError: it could not be built, or the folder is not below the project's.
    """
    if not use_case.is_dir() or not use_case.is_relative_to(ROOT):
        raise ImageError(f"USE_CASE: {use_case} is no folder below {ROOT}")
    folders = [folder.relative_to(ROOT) for folder in (use_case, features_of(use_case)) if folder.is_relative_to(ROOT)]
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder, "context")
        (context / "use_cases").mkdir(parents=True)
        own = [str(folder) for folder in dict.fromkeys(folders) if folder.parts[0] not in PARTS]
        for part in (*PARTS, *own):
            shutil.copytree(
                ROOT / part, context / part, ignore=shutil.ignore_patterns("__pycache__", "feast_monitoring")
            )
        for file in FILES:
            (context / file).parent.mkdir(exist_ok=True)
            shutil.copy2(ROOT / file, context / file)
        shutil.copy2(FOLDER / "Containerfile.jobs", context / "Containerfile")
        builder.build(
            context, image, [*index_secrets(Path(folder, "secrets")), f"--build-arg=USE_CASE={folders[0]}", *options]
        )


@click.command("python -m deploy.image.jobs_image", help=__doc__)
@builder_option
@click.option("--image", default="", help="Tag of the image; default <use case>-jobs:latest.")
@options_argument
def _command(builder: str, image: str, options: tuple[str, ...]) -> None:
    found_builder, image = find_builder(builder), image or image_name()
    build(found_builder, image, options, Artefacts.of(os.environ).use_case)
    sys.stdout.write(f"{image}, by {found_builder.name}\n")


main = one_line(_command)

if __name__ == "__main__":
    sys.exit(main(None))
