"""Which code computes feature rows."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from artefacts.addresses import PROJECT_ROOT

_ROOMS = ("jobs/features", "jobs/offline_store", "training/churn/source")
"""Whole folders, so that a new file counts without being named here."""
_TRANSFORMATIONS = "feature_repo/transformations.py"


def definition_sha256(root: Path = PROJECT_ROOT) -> str:
    """Digest of the code that computes rows. A build by other code is not continued, and counts as new for training."""
    files = [root / _TRANSFORMATIONS, *(file for room in _ROOMS for file in sorted((root / room).rglob("*.py")))]
    return _digest(files, root)


def own_definition_sha256(use_case: Path) -> str:
    """The same of a use case that has a `features.py` of its own: the modules beside it, without `use_case.py`."""
    return _digest([file for file in sorted(use_case.glob("*.py")) if file.name != "use_case.py"], use_case)


def _digest(files: Iterable[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()
