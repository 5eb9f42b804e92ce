"""`make sbom`: the software bill of materials of an image as CycloneDX JSON, from the image's contents."""

import sys
from pathlib import Path
from typing import Any

import click
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from deploy.image.builder import ImageError, bento_option, builder_option, find_builder, one_line
from deploy.image.containerize import built_bento, contents, labels
from deploy.image.jobs_image import image_name


def bill_of_materials(image: str, described: dict[str, str], found: Any) -> str:
    """Bill of materials in CycloneDX 1.6 JSON, validated against its schema.

    Args:
        image: tag.
        described: what it is, as the labels of the service's image say it.
        found: inventory by `deploy/image/inventory.py`.

    Raises:
        ImageError: the document is not valid.
    """
    bom = Bom()
    bom.metadata.component = whole = Component(
        name=image,
        type=ComponentType.CONTAINER,
        version=described.get("org.opencontainers.image.version") or None,
        properties=[Property(name=name, value=value) for name, value in described.items() if value],
    )
    for package in found["python"]:
        name = package["name"].lower().replace("_", "-").replace(".", "-")
        url = PackageURL("pypi", name=name, version=package["version"])
        bom.components.add(_library(package, url))
    for package in found["debian"]:
        qualifiers = {"arch": package["architecture"]}
        url = PackageURL("deb", "debian", package["name"], package["version"], qualifiers)
        bom.components.add(_library(package, url, OrganizationalEntity(name="Debian")))
    bom.register_dependency(whole, bom.components)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    if (invalid := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise ImageError(f"the bill of materials is not valid: {invalid}")
    return text + "\n"


def _library(package: Any, url: PackageURL, supplier: OrganizationalEntity | None = None) -> Component:
    return Component(
        name=package["name"],
        version=package["version"],
        type=ComponentType.LIBRARY,
        purl=url,
        bom_ref=url.to_string(),
        supplier=supplier,
    )


@click.command("python -m deploy.image.sbom", help=__doc__)
@bento_option
@builder_option
@click.option("--jobs", is_flag=True, help="Of the jobs' image.")
@click.option("--out", type=Path, required=True, help="The file to write.")
def _command(bento: str, builder: str, jobs: bool, out: Path) -> None:
    found_builder = find_builder(builder)
    if jobs:
        image = image_name()
        described = {"org.opencontainers.image.title": image.partition(":")[0]}
    else:
        built = built_bento(bento)
        image, described = str(built.tag), labels(built)
    found = contents(found_builder, image)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(bill_of_materials(image, described, found), encoding="utf-8")
    sys.stdout.write(f"{out}: {len(found['python'])} Python and {len(found['debian'])} Debian packages\n")


main = one_line(_command)

if __name__ == "__main__":
    sys.exit(main(None))
