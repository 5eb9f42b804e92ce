"""`make jobs-image`: the image of the jobs, training and MLflow's server, from the rooms of this source tree."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.image.builder import Builder, find_builder, one_line, take_builder
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


@one_line
def main(arguments: Sequence[str] | None) -> None:
    """Build it."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image.jobs_image", description=__doc__)
    take_builder(parser)
    parser.add_argument("--image", default="", help=f"its tag; {IMAGE} unless given")
    parser.add_argument("options", nargs="*", help="further options of the builder, after --")
    asked = parser.parse_args(arguments)
    builder = find_builder(asked.builder)
    build(builder, asked.image or IMAGE, asked.options)
    sys.stdout.write(f"{asked.image or IMAGE}, by {builder.name}\n")


if __name__ == "__main__":
    sys.exit(main(None))
