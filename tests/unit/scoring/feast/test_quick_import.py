"""Feast's import is not slowed down by typeguard: its decorator, which Feast applies to its classes, does nothing."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]

COUNTED = """
import scoring, typeguard
plain, decorated = typeguard.typechecked, []
def counted(target=None, **options):
    decorated.append(target)
    return plain(target, **options)
typeguard.typechecked = counted
import feast
print(feast.Entity in decorated, "TypeCheckMemo" in feast.Entity.__init__.__code__.co_names)
"""

WITH_TYPEGUARD = """
import feast
print("TypeCheckMemo" in feast.Entity.__init__.__code__.co_names)
"""


def run(code: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


def test_feast_decorates_its_classes_through_the_name_that_is_replaced() -> None:
    assert "True False" == run(COUNTED)


def test_without_it_typeguard_rewrites_them() -> None:
    assert "True" == run(WITH_TYPEGUARD)
