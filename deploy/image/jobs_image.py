"""`make jobs-image`: the image of the jobs, training and MLflow's server, from the rooms of this source tree."""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from deploy.image.builder import Builder, builder_option, find_builder, one_line, options_argument
from deploy.image.containerize import FOLDER, index_secrets

IMAGE = "churn-jobs:latest"
ROOT = FOLDER.parents[1]
PARTS = ("artefacts", "contract", "deploy/jobs", "feature_repo", "jobs", "scoring", "training")
FILES = ("pyproject.toml", "requirements/jobs-image.txt")


def build(builder: Builder, image: str, options: Sequence[str]) -> None:
    """Build it.

    Raises:
        ImageError: it could not be built.
    """
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder, "context")
        for part in PARTS:
            shutil.copytree(
                ROOT / part, context / part, ignore=shutil.ignore_patterns("__pycache__", "feast_monitoring")
            )
        for file in FILES:
            (context / file).parent.mkdir(exist_ok=True)
            shutil.copy2(ROOT / file, context / file)
        shutil.copy2(FOLDER / "Containerfile.jobs", context / "Containerfile")
        builder.build(context, image, [*index_secrets(Path(folder, "secrets")), *options])


@click.command("python -m deploy.image.jobs_image", help=__doc__)
@builder_option
@click.option("--image", default="", help=f"Tag of the image; default {IMAGE}.")
@options_argument
def _command(builder: str, image: str, options: tuple[str, ...]) -> None:
    found_builder = find_builder(builder)
    build(found_builder, image or IMAGE, options)
    sys.stdout.write(f"{image or IMAGE}, by {found_builder.name}\n")


main = one_line(_command)

if __name__ == "__main__":
    sys.exit(main(None))
