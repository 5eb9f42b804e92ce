"""Builds and runs images with docker, podman or buildah."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from artefacts.addresses import Artefacts
from artefacts.process.command_line import run_command

NAMES = ("docker", "podman", "buildah")


def use_case_name() -> str:
    """Name of the use case that `USE_CASE` names: Bento and images are called by it."""
    return Artefacts.of(os.environ).use_case.name


class ImageError(Exception):
    """An image cannot be built or inspected; the message says why."""


@dataclass(frozen=True)
class Builder:
    """A program that builds images.

    name: one of `NAMES`.
    """

    name: str

    def build(self, context: Path, image: str, options: Sequence[str]) -> None:
        """Build the context's Containerfile; the builder prints to this process' output.

        Raises:
            ImageError: it failed; its output says why.
        """
        command = [self.name, "build", "--file", str(context / "Containerfile"), "--tag", image, *options, str(context)]
        if subprocess.run(command, check=False).returncode:
            raise ImageError(f"{self.name} could not build {image}; see its output above")

    def python(self, image: str, code: str) -> Any:
        """Run code with the image's Python, in a new container without network.

        Returns:
            Its output, parsed as JSON.

        Raises:
            ImageError: there is no such image, or the code failed.
        """
        if self.name != "buildah":
            options = ["--rm", "--pull=never", "--network=none", "--entrypoint=python3"]
            return json.loads(self._output("run", *options, image, "-c", code))
        container = self._output("from", "--pull-never", image).strip()
        try:
            return json.loads(self._output("run", "--network=none", container, "--", "python3", "-c", code))
        finally:
            self._output("rm", container)

    def bytes_of(self, image: str) -> int:
        """Uncompressed size, with hidden files of lower layers."""
        if self.name != "buildah":
            return int(self._output("image", "inspect", "--format", "{{.Size}}", image))
        found: list[dict[str, Any]] = json.loads(self._output("images", "--json", image))
        return _bytes(str(found[0]["size"]))

    def _output(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.name, *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ImageError(f"{self.name} {arguments[0]}: {lines[-1]} (`make containerize` makes the image)")
        return done.stdout


def _bytes(size: str) -> int:
    number, unit = size.split()
    return round(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])


def find_builder(asked: str = "", works: Callable[[str], bool] | None = None) -> Builder:
    """The requested builder, else the first of `NAMES` that works.

    Args:
        works: tells whether a program works; default: it is installed and, for docker, its engine answers.

    Raises:
        ImageError: none works, or the requested one does not.
    """
    works = works or _works
    if asked and asked not in NAMES:
        raise ImageError(f"BUILDER is {asked!r}, not one of {', '.join(NAMES)}")
    for name in [asked] if asked else NAMES:
        if works(name):
            return Builder(name)
    raise ImageError(
        f"{asked or 'none of docker, podman and buildah'} can be used here (docker needs a running engine); "
        "on Debian: apt-get install podman"
    )


def _works(name: str) -> bool:
    if shutil.which(name) is None:
        return False
    return name != "docker" or subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0


builder_option = click.option("--builder", default="", help="docker, podman or buildah; default the first that works.")
bento_option = click.option("--bento", default="", help="Tag of the Bento; default the latest of the use case.")
options_argument = click.argument("options", nargs=-1, metavar="[-- OPTIONS_OF_BUILDER]")
"""Further options of the builder, after `--`."""


def one_line(command: click.Command) -> Callable[[Sequence[str] | None], int]:
    """The command as a function that returns 0, or 1 after an error in one line."""

    def main(arguments: Sequence[str] | None = None) -> int:
        try:
            run_command(command, arguments)
        except (ImageError, OSError) as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        return 0

    return main
