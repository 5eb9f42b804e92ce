"""Made-up households with features, registry and models of their own; the use cases on them, by the commands."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.loop import SOURCE, place_environment
from tests.models.households import END, write_households
from use_cases.household_spend.source import Source

CASES = ("use_cases/household_spend", "use_cases/next_department", "tests/use_cases/coupon_purchase")


@dataclass(frozen=True)
class Place:
    """Purchases, features, registry and models below one folder; each use case with its own pin."""

    environment: dict[str, str]
    root: Path

    def of(self, case: str) -> dict[str, str]:
        """The variables of one use case."""
        return {"USE_CASE": case, "MODEL_TAG_PATH": str(self.root / Path(case).name / "model_tag")}

    def run(self, *arguments: str, case: str, codes: tuple[int, ...] = (0,)) -> str:
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

    def train(self, case: str) -> None:
        """Train, promote and import a model."""
        said = self.run("training", "train", case=case, codes=(0, 4))
        if (
            "version 1 is champion" not in said
        ):  # the gate decides by how good it is, which made-up households cannot tell
            self.run("training", "promote", "--version=1", "--force", "--reason=made-up households", case=case)
        self.run("training", "import-model", case=case)


def household_place(
    root: Path, households: int, end: datetime = END, change: Callable[[Source], None] = lambda _: None
) -> Place:
    """Make purchases until `end`, their features, and the registry.

    Args:
        change: what is done to the purchases before the features are built.
    """
    environment = place_environment(root, HOUSEHOLD_DATA_DIR=root / "data")
    write_households(root / "data", households=households, end=end)
    change(Source(root / "data"))
    made = Place(environment, root)
    made.run("jobs", "features", case=CASES[0])
    made.run("jobs", "apply", case=CASES[1])  # the same repository
    return made
