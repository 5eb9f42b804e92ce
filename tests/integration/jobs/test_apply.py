from pathlib import Path

import pytest

from contract.artefacts import Artefacts
from jobs.errors import JobError
from jobs.feature_store import apply


def test_the_address_of_a_registry_that_is_no_file_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job in a container has no folder that it may write to but its own."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(JobError, match="feast apply failed"):  # this feature_store.yaml knows files only
        apply(Artefacts.of({"FEAST_REGISTRY": "nowhere://registry/db"}, root=tmp_path))

    assert list(tmp_path.iterdir()) == []
