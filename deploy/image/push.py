"""`make push`: the image of a built Bento and that of the jobs, under the names of a release, to their registry."""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from deploy.image.builder import Builder, ImageError, find_builder, one_line, take_builder


def check_name(variable: str, name: str) -> None:
    """Hold the name of a release's image to `registry/repository:tag`.

    Args:
        variable: of make, in which it came.

    Raises:
        ImageError: it is none, or its tag is `latest`.
    """
    _, slash, rest = name.partition("/")
    if not slash or ":" not in rest or rest.endswith((":", ":latest")):
        raise ImageError(f"{variable}={name} is not registry/repository:tag, and never latest")


def push(builder: Builder, image: str, name: str, environ: Mapping[str, str]) -> None:
    """Log in where `REGISTRY_USER` and `REGISTRY_PASSWORD` are set, and push.

    Args:
        image: its name here.
        name: as `check_name` takes it.

    Raises:
        ImageError: the builder could not; it has said why.
    """
    registry = name.partition("/")[0]
    password = environ.get("REGISTRY_PASSWORD", "")
    if password:
        user = environ.get("REGISTRY_USER", "")
        _run(builder, "login", "--username", user, "--password-stdin", registry, said=password)
    _run(builder, "tag", image, name)
    _run(builder, "push", name)


def _run(builder: Builder, *arguments: str, said: str = "") -> None:
    if subprocess.run(
        [builder.name, *arguments], input=said, encoding="utf-8", errors="replace", check=False
    ).returncode:
        raise ImageError(f"{builder.name} {arguments[0]} failed; what it says is above")


@one_line
def main(arguments: Sequence[str] | None) -> None:
    """Push both."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image.push", description=__doc__)
    parser.add_argument("--image", required=True, help="registry/repository:tag of the service's")
    parser.add_argument("--jobs-image", required=True, help="registry/repository:tag of the jobs'")
    parser.add_argument("--bento", default="", help="its tag; the latest unless given")
    take_builder(parser)
    asked = parser.parse_args(arguments)
    from deploy.image import jobs_image  # imports bentoml, which takes seconds
    from deploy.image.containerize import built_bento

    # Both before the first is pushed: half a release is none.
    check_name("IMAGE", asked.image)
    check_name("JOBS_IMAGE", asked.jobs_image)
    builder = find_builder(asked.builder)
    push(builder, str(built_bento(asked.bento).tag), asked.image, os.environ)
    push(builder, jobs_image.IMAGE, asked.jobs_image, os.environ)


if __name__ == "__main__":
    sys.exit(main(None))
