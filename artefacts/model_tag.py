"""Tags of the BentoML model store: `name:v<version>-<digest>`. Written by the import, read by every plane."""

import hashlib
import re


def tag_prefix(name: str, version: str) -> str:
    """How every tag of a registered version begins."""
    return f"{name}:v{version}-"


def model_tag(name: str, version: str, *sha256: str) -> str:
    """The tag of a version with these contents; other contents give another tag.

    Args:
        sha256: of the contract, the registered model and the scoring file.
    """
    return tag_prefix(name, version) + hashlib.sha256(" ".join(sha256).encode()).hexdigest()[:12]


def version_in(tag: object) -> str | None:
    """The version number in a tag; None if it has none."""
    found = re.search(r":v(\d+)-", str(tag))
    return found.group(1) if found else None


def is_exact(tag: str) -> bool:
    """True for `name:version`; `latest` is not a version."""
    name, _, version = tag.partition(":")
    return bool(name and version) and version != "latest"
