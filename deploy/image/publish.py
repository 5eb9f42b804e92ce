"""`make publish`: joins the processors' images under the release's name, pushes the chart, signs it all with cosign."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from deploy.image.builder import Builder, ImageError, one_line
from deploy.image.push import check_name, log_in

PROCESSORS = ("amd64", "arm64")
"""The job `image` of the release workflow pushed `<name>-<processor>` of each."""


def join(name: str) -> str:
    """Put the images of all processors under one name.

    Args:
        name: registry/repository:tag.

    Returns:
        Digest of the index, `sha256:…`.

    Raises:
        ImageError: docker failed.
    """
    _run("docker", "buildx", "imagetools", "create", "--tag", name, *(f"{name}-{one}" for one in PROCESSORS))
    return digest_of(name)


def digest_of(name: str) -> str:
    """Digest of what the registry has under a name. Raises: ImageError: docker failed."""
    found = json.loads(_run("docker", "buildx", "imagetools", "inspect", name, "--format", "{{json .Manifest}}"))
    return str(found["digest"])


def push_chart(package: Path, folder: str) -> str:
    """Push a packed chart.

    Args:
        folder: registry/folder of the charts.

    Returns:
        registry/folder/chart@sha256:…

    Raises:
        ImageError: helm failed or named no digest.
    """
    said = _run("helm", "push", str(package), f"oci://{folder}", errors_too=True)  # helm 3 names it on stderr
    digest = re.search(r"^Digest: (sha256:[0-9a-f]{64})$", said, re.MULTILINE)
    if not digest:
        raise ImageError("helm push named no digest")
    return f"{folder}/{package.name.rpartition('-')[0]}@{digest.group(1)}"


def sign(subject: str) -> None:
    """Sign without a key, by the identity of the workflow that runs; of an index, also the images in it.

    Args:
        subject: name@sha256:…

    Raises:
        ImageError: cosign failed.
    """
    _run("cosign", "sign", "--yes", "--recursive", subject)


def attest(subject: str, bill_of_materials: Path) -> None:
    """Attach the signed bill of materials of one image. Raises: ImageError: cosign failed."""
    _run("cosign", "attest", "--yes", "--type", "cyclonedx", "--predicate", str(bill_of_materials), subject)


def check_same_bento(bills: Mapping[str, Path]) -> None:
    """Check that the service's images are of one Bento: a champion can change between two builds.

    Args:
        bills: processor → its image's bill of materials, which has the image's labels.

    Raises:
        ImageError: they differ in a label; the message names it. Or a file is no bill of materials.
    """
    labels = {one: _labels(file) for one, file in bills.items()}
    for name in sorted({"model-service.bento"}.union(*labels.values())):
        found = {one: of_image.get(name) for one, of_image in labels.items()}
        if len(set(found.values())) > 1 or None in found.values():
            said = ", ".join(f"{value or 'nothing'} for {one}" for one, value in found.items())
            raise ImageError(f"the images are not of one Bento: {name} is {said}; make release-bento packs it once")


def _labels(bill_of_materials: Path) -> dict[str, str]:
    try:
        component = json.loads(bill_of_materials.read_text(encoding="utf-8"))["metadata"]["component"]
        return {each["name"]: each["value"] for each in component["properties"]}
    except (ValueError, KeyError, TypeError):
        raise ImageError(f"{bill_of_materials} is no bill of materials of `make release-images`") from None


def publish(
    image: str, jobs_image: str, charts: Sequence[Path], boms: Path, environ: Mapping[str, str]
) -> dict[str, str]:
    """Log in, join, push, sign and attest.

    Args:
        boms: folder with `release-<processor>/sbom.json` of the service's image, and `jobs-sbom.json` of the jobs'.

    Returns:
        Name and digest of each thing, as the workflow's outputs.

    Raises:
        ImageError: a name is none of a release, a file is missing, the service's images are of several Bentos, or a
            program failed. Nothing is pushed before names, files and Bentos are checked.
    """
    check_name("IMAGE", image)
    check_name("JOBS_IMAGE", jobs_image)
    images = {"image": (image, "sbom.json"), "jobs_image": (jobs_image, "jobs-sbom.json")}
    needed = {
        output: {one: boms / f"release-{one}" / bill for one in PROCESSORS} for output, (_, bill) in images.items()
    }
    missing = [str(file) for files in needed.values() for file in files.values() if not file.is_file()]
    if missing or len(charts) != 1:
        raise ImageError(
            f"no {missing[0]}" if missing else f"var/chart holds {len(charts)} charts, not one: make chart"
        )
    check_same_bento(needed["image"])
    folder = f"{image.rpartition(':')[0].rpartition('/')[0]}/charts"
    log_in(Builder("docker"), image, environ)
    chart = push_chart(charts[0], folder)
    outputs = {"chart": chart.partition("@")[0], "chart_digest": chart.partition("@")[2]}
    sign(chart)
    for output, (name, _) in images.items():
        repository, digest = name.rpartition(":")[0], join(name)
        outputs |= {output: repository, f"{output}_digest": digest}
        sign(f"{repository}@{digest}")
        for one, file in needed[output].items():
            attest(f"{repository}@{digest_of(f'{name}-{one}')}", file)
    return outputs


def _run(*command: str, errors_too: bool = False) -> str:
    """What it prints; with `errors_too`, also what it says on stderr, which is then shown when it ends."""
    stderr = subprocess.STDOUT if errors_too else None
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8", errors="replace", check=False
        )
    except FileNotFoundError:
        raise ImageError(f"there is no {command[0]} here") from None
    if errors_too:
        sys.stderr.write(done.stdout)
    if done.returncode:
        raise ImageError(f"{' '.join(command[:2])} failed; see its output above")
    return done.stdout


def write_outputs(outputs: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Tell GitHub's next steps, where it runs this, and everybody on stdout."""
    text = "".join(f"{name}={value}\n" for name, value in outputs.items())
    if file := environ.get("GITHUB_OUTPUT"):
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(text)
    sys.stdout.write(text)


@click.command("python -m deploy.image.publish", help=__doc__)
@click.option("--image", required=True, help="registry/repository:tag of the service's image.")
@click.option("--jobs-image", required=True, help="registry/repository:tag of the jobs' image.")
@click.option("--charts", type=Path, default=Path("var/chart"), help="Folder of the packed chart.")
@click.option("--boms", type=Path, default=Path("var/released"), help="Folder of the jobs' artefacts.")
def _command(image: str, jobs_image: str, charts: Path, boms: Path) -> None:
    write_outputs(publish(image, jobs_image, sorted(charts.glob("*.tgz")), boms, os.environ), os.environ)


main = one_line(_command)

if __name__ == "__main__":
    sys.exit(main(None))
