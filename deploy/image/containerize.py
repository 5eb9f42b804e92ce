"""`make containerize`: an OCI image of a built Bento; `make image-size`: the sizes of its parts."""

import configparser
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
import click
from bentoml.exceptions import BentoMLException

from deploy.image import inventory
from deploy.image.builder import (
    Builder,
    ImageError,
    bento_option,
    builder_option,
    find_builder,
    one_line,
    options_argument,
    use_case_name,
)

if TYPE_CHECKING:
    from bentoml import Bento

FOLDER = Path(__file__).parent
CA_SECRET = "/run/secrets/ca.pem"  # noqa: S105  # where the Containerfile mounts it
LARGEST = 12


def built_bento(tag: str) -> "Bento":
    """A Bento of the local store.

    Args:
        tag: `<name>:<version>`, or empty for the latest of the use case that `USE_CASE` names.

    Raises:
        ImageError: there is none.
    """
    try:
        return bentoml.bentos.get(tag or f"{use_case_name()}:latest")
    except BentoMLException as error:
        raise ImageError(f"{error}; run `make build`") from None


def labels(bento: "Bento") -> dict[str, str]:
    """Labels of an image's origin: OCI annotations and two of our own."""
    (model,) = bento.info.all_models
    return {
        "org.opencontainers.image.title": f"{bento.tag.name}-service",
        "org.opencontainers.image.version": bento.info.labels.get("version", ""),
        "org.opencontainers.image.revision": bento.info.labels.get("commit", ""),
        "model-service.bento": str(bento.tag),
        "model-service.model": str(model.tag),
    }


def pip_configuration(environ: Mapping[str, str], configured_index: str) -> str:
    """A pip.conf for the build, with this machine's package index and certificate authorities.

    Args:
        configured_index: index of pip's own configuration; the environment takes precedence.
    """
    index = environ.get("PIP_INDEX_URL") or environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    said = {"index-url": index or configured_index, "cert": CA_SECRET if authorities(environ) else ""}
    parser = configparser.RawConfigParser()
    parser["global"] = {name: value for name, value in said.items() if value}
    lines = ["[global]", *(f"{name} = {value}" for name, value in parser["global"].items())]
    return "\n".join(lines) + "\n"


def authorities(environ: Mapping[str, str]) -> Path | None:
    """The file of certificate authorities that the environment names; None if it names none."""
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if environ.get(name):
            return Path(environ[name])
    return None


def containerize(builder: Builder, bento: "Bento", image: str, options: Sequence[str], extra: str = "") -> None:
    """Build the image.

    Args:
        image: its tag; `GET /model` returns it.
        extra: packages beyond the lock, as pip takes them, e.g. those of another online store.
        options: further options of the builder.

    Raises:
        ImageError: it could not be built.
    """
    with tempfile.TemporaryDirectory() as folder:
        context, secrets = Path(folder, "context"), Path(folder, "secrets")
        context.mkdir()
        bentoml.export_bento(str(bento.tag), str(context / "bento"), output_format="folder")
        shutil.copy2(FOLDER / "Containerfile", context)
        builder.build(
            context,
            image,
            [
                *index_secrets(secrets),
                f"--build-arg=IMAGE={image}",
                *([f"--build-arg=EXTRA={extra}"] if extra else []),
                *(f"--label={name}={value}" for name, value in labels(bento).items()),
                *options,
            ],
        )


def index_secrets(folder: Path) -> list[str]:
    """Write pip's configuration into a new folder; returns the builder's options that pass it to the build only."""
    folder.mkdir()
    (folder / "pip.conf").write_text(pip_configuration(os.environ, _configured_index()), encoding="utf-8")
    trusted = authorities(os.environ)
    (folder / "ca.pem").write_bytes(trusted.read_bytes() if trusted else b"")
    return [f"--secret=id={file.name},src={file}" for file in sorted(folder.iterdir())]


def _configured_index() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.stdout.strip()


def contents(builder: Builder, image: str) -> Any:
    """Inventory of an image by `deploy/image/inventory.py`."""
    return builder.python(image, Path(inventory.__file__).read_text(encoding="utf-8"))


def size_table(found: Any, whole: int) -> str:
    """Table of sizes in MB (10⁶ bytes): the image, Python's packages, the rest, and the largest packages."""
    python = sorted(found["python"], key=lambda package: -int(package["bytes"]))
    packages = sum(package["bytes"] for package in python)
    rows = [
        ("the image", whole),
        (f"Python packages, {len(python)}", packages),
        ("the base, Python itself, model and Bento", whole - packages),
        *((f"{package['name']} {package['version']}", package["bytes"]) for package in python[:LARGEST]),
    ]
    return "\n".join(f"| {name} | {size / 1e6:.0f} MB |" for name, size in rows)


@click.command("python -m deploy.image.containerize", help=__doc__)
@bento_option
@builder_option
@click.option("--extra", default="", help="Packages beyond the lock, e.g. those of another online store.")
@click.option("--size-only", is_flag=True, help="Build nothing, look into the image that is there.")
@options_argument
def _command(bento: str, builder: str, extra: str, size_only: bool, options: tuple[str, ...]) -> None:
    found_builder, built = find_builder(builder), built_bento(bento)
    image = str(built.tag)
    if not size_only:
        containerize(found_builder, built, image, options, extra)
        sys.stdout.write(f"{image}, by {found_builder.name}\n")
    sys.stdout.write(size_table(contents(found_builder, image), found_builder.bytes_of(image)) + "\n")


main = one_line(_command)

if __name__ == "__main__":
    sys.exit(main(None))
