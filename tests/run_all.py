"""All tests, as `make test` runs them: two processes side by side, since most tests wait for servers to start.

The halves share nothing. Tests that need the whole loop (`make run`, minutes) are in one; it ends with those that
measure time, which wait until the other half is done. What that half printed is shown at the end.
"""

import fcntl
import os
import subprocess
import sys
import tempfile

WITH_THE_LOOP = (
    "tests/e2e",
    "tests/integration/test_parity.py",
    "tests/integration/test_feast_commands.py",
    "tests/faults",
)
BESIDE = "TESTS_BESIDE"
"""Variable with the file that the other half keeps locked."""


def main() -> int:
    """Exit code 0 if every test passed."""
    pytest = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    others = ["tests", *(f"--ignore={path}" for path in WITH_THE_LOOP)]
    with tempfile.TemporaryFile("w+") as said, tempfile.NamedTemporaryFile("w") as running:
        # The lock is the other half's alone: it ends with that process, however it ends.
        held = os.open(running.name, os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX)
        beside = subprocess.Popen([*pytest, *others], stdout=said, stderr=subprocess.STDOUT, pass_fds=[held])
        os.close(held)
        try:
            environment = {**os.environ, BESIDE: running.name}
            codes = [subprocess.run([*pytest, *WITH_THE_LOOP], env=environment, check=False).returncode, beside.wait()]
        finally:
            beside.terminate()
        said.seek(0)
        sys.stdout.write(said.read())
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
