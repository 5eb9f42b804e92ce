"""Which code computes feature rows."""

import hashlib
from pathlib import Path

from artefacts.addresses import PROJECT_ROOT

_ROOMS = ("jobs/features", "jobs/offline_store", "training/churn/source")
"""Whole folders, so that a new file counts without being named here."""
_TRANSFORMATIONS = "feature_repo/transformations.py"


def definition_sha256(root: Path = PROJECT_ROOT) -> str:
    """Digest of the code that computes rows. A build by other code is not continued, and counts as new for training."""
    files = [root / _TRANSFORMATIONS, *(file for room in _ROOMS for file in sorted((root / room).rglob("*.py")))]
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()
