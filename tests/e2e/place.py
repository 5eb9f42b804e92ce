"""Use cases side by side below one folder, by the commands."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.loop import SOURCE


@dataclass(frozen=True)
class Place:
    """Sources, features, registry and models below one folder; each use case with its own pin."""

    environment: dict[str, str]
    root: Path

    def pin(self, case: str) -> Path:
        """Where the imported model of a use case is named."""
        return self.root / Path(case).name / "model_tag"

    def of(self, case: str) -> dict[str, str]:
        """The variables of one use case."""
        return {"USE_CASE": case, "MODEL_TAG_PATH": str(self.pin(case))}

    def run(self, *arguments: str, case: str, codes: Sequence[int] = (0,)) -> str:
        """A command; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=SOURCE,
            env={**self.environment, **self.of(case)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in codes, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr
