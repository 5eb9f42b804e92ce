"""`make push`: pushes the service's and the jobs' images to their registry, under the names of a release."""

import os
import subprocess
import sys
from collections.abc import Mapping

import click

from deploy.image.builder import Builder, ImageError, bento_option, builder_option, find_builder, one_line


def check_name(variable: str, name: str) -> None:
    """Check that a release's image is named `registry/repository:tag`.

    Args:
        variable: the variable of make that holds the name.

    Raises:
        ImageError: it is not, or its tag is `latest`.
    """
    _, slash, rest = name.partition("/")
    if not slash or ":" not in rest or rest.endswith((":", ":latest")):
        raise ImageError(f"{variable}={name} is not registry/repository:tag, and never latest")


def log_in(builder: Builder, name: str, environ: Mapping[str, str]) -> None:
    """Log in to an image's registry, as `REGISTRY_USER`, if `REGISTRY_PASSWORD` is set.

    Raises:
        ImageError: the builder failed; its output says why.
    """
    registry = name.partition("/")[0]
    password = environ.get("REGISTRY_PASSWORD", "")
    if password:
        user = environ.get("REGISTRY_USER", "")
        _run(builder, "login", "--username", user, "--password-stdin", registry, input_text=password)


def push(builder: Builder, image: str, name: str, environ: Mapping[str, str]) -> None:
    """Log in, and push.

    Args:
        image: its local name.
        name: its name in the registry, checked by `check_name`.

    Raises:
        ImageError: the builder failed; its output says why.
    """
    log_in(builder, name, environ)
    _run(builder, "tag", image, name)
    _run(builder, "push", name)


def _run(builder: Builder, *arguments: str, input_text: str = "") -> None:
    if subprocess.run(
        [builder.name, *arguments], input=input_text, encoding="utf-8", errors="replace", check=False
    ).returncode:
        raise ImageError(f"{builder.name} {arguments[0]} failed; see its output above")


@click.command("python -m deploy.image.push", help=__doc__)
@click.option("--image", required=True, help="registry/repository:tag of the service's image.")
@click.option("--jobs-image", required=True, help="registry/repository:tag of the jobs' image.")
@bento_option
@builder_option
def _command(image: str, jobs_image: str, bento: str, builder: str) -> None:
    from deploy.image.containerize import built_bento  # imports bentoml, which takes seconds
    from deploy.image.jobs_image import image_name

    # Check both names before the first push, so that no release is pushed by half.
    check_name("IMAGE", image)
    check_name("JOBS_IMAGE", jobs_image)
    found_builder = find_builder(builder)
    push(found_builder, str(built_bento(bento).tag), image, os.environ)
    push(found_builder, image_name(), jobs_image, os.environ)


main = one_line(_command)

if __name__ == "__main__":
    sys.exit(main(None))
