"""Feature definitions that keep the contract and such that break it, and Feast's own command to apply them."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.loop import Loop, make

_WINDOWS, _FEWER_WINDOWS = "WINDOW_DAYS = (7, 30, 90, 180)", "WINDOW_DAYS = (30, 90, 180)"


@dataclass(frozen=True)
class Definitions:
    """Folders of a feature repository: the loop's own, and one in which three of the contract's features are gone."""

    kept: Path
    breaking: Path

    @classmethod
    def of(cls, loop: Loop, folder: Path) -> "Definitions":
        kept = shutil.copytree(loop.root / "feature_repo", folder / "kept")
        breaking = shutil.copytree(kept, folder / "breaking")
        text = (breaking / "feature_views.py").read_text()
        assert _WINDOWS in text
        (breaking / "feature_views.py").write_text(text.replace(_WINDOWS, _FEWER_WINDOWS))
        services = breaking / "feature_services.py"
        services.write_text(services.read_text().replace('"order_count_7d", ', ""))  # one that names it
        return cls(kept, breaking)


def apply(loop: Loop, addresses: dict[str, str], repo: Path) -> None:
    """`feast apply` of a folder of definitions."""
    environment = {**loop.environment, **addresses}
    exports = make(loop.root, environment, "-s", "feast-env").stdout
    done = subprocess.run(
        ["sh", "-ec", f'{exports}\nexec "{loop.environment["VENV"]}/bin/feast" apply'],
        cwd=repo,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
