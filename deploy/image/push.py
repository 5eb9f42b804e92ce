"""`make push`: the image of a built Bento and that of the jobs, under the names of a release, to their registry."""

import os
import subprocess
import sys
from collections.abc import Mapping

import click

from deploy.image.builder import Builder, ImageError, bento_option, builder_option, find_builder, one_line


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


@click.command("python -m deploy.image.push", help=__doc__)
@click.option("--image", required=True, help="registry/repository:tag of the service's image.")
@click.option("--jobs-image", required=True, help="registry/repository:tag of the jobs' image.")
@bento_option
@builder_option
def _command(image: str, jobs_image: str, bento: str, builder: str) -> None:
    from deploy.image.containerize import built_bento  # imports bentoml, which takes seconds
    from deploy.image.jobs_image import IMAGE

    # Both names are checked before the first is pushed, so that no half of a release is pushed.
    check_name("IMAGE", image)
    check_name("JOBS_IMAGE", jobs_image)
    found_builder = find_builder(builder)
    push(found_builder, str(built_bento(bento).tag), image, os.environ)
    push(found_builder, IMAGE, jobs_image, os.environ)


main = one_line(_command)

if __name__ == "__main__":
    sys.exit(main(None))
