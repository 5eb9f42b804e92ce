"""Podman with a storage of its own, for tests of images: nothing of it stays, and nothing else's is touched."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.loop import SOURCE

BASE = "docker.io/library/python:3.11-slim-bookworm"
_MISSING = [name for name in ("podman", "mmdebstrap") if shutil.which(name) is None]

needs_podman = pytest.mark.skipif(
    bool(_MISSING or os.geteuid()) and os.environ.get("CI") != "true",
    reason=f"needs root and Debian's podman and mmdebstrap; missing: {_MISSING}",
)

# The host's network, because tests' servers listen on loopback; the limits, because a sandbox lets nobody raise them.
_CONFIGURATION = """\
[containers]
netns = "host"
default_ulimits = ["nofile=4096:4096", "nproc=8192:8192"]
"""


@dataclass(frozen=True)
class Podman:
    """Runs podman's commands.

    environment: in which other programs find the same storage.
    """

    environment: dict[str, str]

    def __call__(self, *arguments: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["podman", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def said(self, *arguments: str) -> str:
        """What a command printed that must not fail."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def podman_in(folder: Path) -> Iterator[Podman]:
    """Podman with everything below a folder that is gone afterwards."""
    folder.mkdir(parents=True)
    settings, storage = folder / "containers.conf", folder / "storage.conf"
    # Debian's default, crun, needs more of the kernel than some sandboxes have.
    runtime = '[engine]\nruntime = "runc"\n' if shutil.which("runc") else ""
    settings.write_text(_CONFIGURATION + runtime)
    environment = {**os.environ, "CONTAINERS_CONF": str(settings), "CONTAINERS_STORAGE_CONF": str(storage)}
    podman = Podman(environment)
    try:
        for driver in ("overlay", "vfs"):  # there is no overlay on top of another one
            storage.write_text(
                f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/{driver}"\nrunroot = "{folder}/run"\n'
            )
            if podman("info").returncode == 0:
                break
        yield podman
    finally:
        podman("rm", "--all", "--force", "--time=0")
        subprocess.run(["umount", folder / "overlay" / "overlay"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def import_stand_in_base(podman: Podman) -> None:
    """Make the base image from Debian's packages; where a registry is reached, it would be pulled."""
    with subprocess.Popen(
        [SOURCE / "deploy" / "image" / "stand_in_base.sh"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as made:
        done = subprocess.run(
            ["podman", "import", "-", BASE], stdin=made.stdout, env=podman.environment, capture_output=True, check=False
        )
        said = made.communicate()[1]
    assert (0, 0) == (made.returncode, done.returncode), said.decode() + done.stderr.decode()
