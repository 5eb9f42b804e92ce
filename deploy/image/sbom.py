"""`make sbom`: the software bill of materials of an image, as CycloneDX JSON, from what is really in it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from deploy.image.builder import ImageError, find_builder, one_line, take_builder
from deploy.image.containerize import built_bento, contents, labels


def bill_of_materials(image: str, described: dict[str, str], found: Any) -> str:
    """CycloneDX 1.6 as JSON, valid by its schema.

    Args:
        image: tag.
        described: the image's labels.
        found: what `deploy/image/inventory.py` found in it.

    Raises:
        ImageError: it is not valid.
    """
    bom = Bom()
    bom.metadata.component = whole = Component(
        name=image,
        type=ComponentType.CONTAINER,
        version=described["org.opencontainers.image.version"] or None,
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


@one_line
def main(arguments: Sequence[str] | None) -> None:
    """Write it."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image.sbom", description=__doc__)
    parser.add_argument("--bento", default="", help="tag of the Bento whose image it is; the latest unless given")
    take_builder(parser)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(arguments)
    builder, bento = find_builder(asked.builder), built_bento(asked.bento)
    found = contents(builder, str(bento.tag))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(bill_of_materials(str(bento.tag), labels(bento), found), encoding="utf-8")
    sys.stdout.write(f"{asked.out}: {len(found['python'])} Python and {len(found['debian'])} Debian packages\n")


if __name__ == "__main__":
    sys.exit(main(None))
