"""All tests, as `make test` runs them: four processes side by side, since most tests wait for servers to start.

They share nothing. Two have the whole loop (`make run`, minutes), each its own. The first ends with the tests that
measure time, which wait until the others are done. What those printed is shown at the end.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack

LOOP_OF_THE_FIRST = ("tests/e2e", "tests/integration/test_parity.py", "tests/integration/test_feast_commands.py")
SPARE_TIME_OF_THE_FIRST = ("tests/integration/test_moved_checkout.py", "tests/integration/v1")
"""They need no loop. The first would wait for the last of the others without them."""
LOOP_OF_THE_SECOND = (
    "tests/e2e/console/test_households.py",
    "tests/e2e/test_alerts.py",
    "tests/e2e/test_container.py",
    "tests/e2e/test_daily_life.py",
    "tests/e2e/test_least_privilege.py",
    "tests/e2e/test_planes.py",
    "tests/e2e/test_stream.py",
    "tests/e2e/test_two_use_cases.py",
    "tests/e2e/test_use_cases_on_households.py",
)
PROMOTION = "tests/integration/training/promotion"
JOBS = ("tests/integration/jobs", "tests/integration/deploy")
MEASURED_LAST = "tests/faults"
BESIDE = "TESTS_BESIDE"
"""Variable with the file that the other processes keep locked."""
GIVES_WAY = {
    "OMP_WAIT_POLICY": "passive",
    "SPARK_SUBMIT_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
"""Whoever waits leaves its core to others, and Java does not compile for hours to come what runs for seconds.

By default a thread of OpenMP that waits for another spins, which makes three trainings side by side on two cores take
twice as long. Neither changes a result.
"""


def processes() -> list[list[str]]:
    """Arguments of pytest for each: together they name every test once."""

    def without(*tests: str) -> list[str]:
        return [f"--ignore={path}" for path in tests]

    return [
        [*LOOP_OF_THE_FIRST, *SPARE_TIME_OF_THE_FIRST, MEASURED_LAST, *without(*LOOP_OF_THE_SECOND)],
        [*LOOP_OF_THE_SECOND, PROMOTION],
        [*JOBS],
        ["tests", *without(*LOOP_OF_THE_FIRST, *SPARE_TIME_OF_THE_FIRST, *JOBS, PROMOTION, MEASURED_LAST)],
    ]


def main() -> int:
    """Exit code 0 if every test passed."""
    environment = {**GIVES_WAY, **os.environ}
    pytest = [sys.executable, "-m", "pytest", "--durations=15", *sys.argv[1:]]
    first, *others = processes()
    with ExitStack() as files:
        running = files.enter_context(tempfile.NamedTemporaryFile("w"))
        said = [files.enter_context(tempfile.TemporaryFile("w+")) for _ in others]
        # The lock is the other processes' alone: it ends with the last of them, however they end.
        held = os.open(running.name, os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX)
        beside = [
            subprocess.Popen(
                [*pytest, *tests], env=environment, stdout=output, stderr=subprocess.STDOUT, pass_fds=[held]
            )
            for tests, output in zip(others, said, strict=True)
        ]
        os.close(held)
        try:
            waiting = {**environment, BESIDE: running.name}
            codes = [subprocess.run([*pytest, *first], env=waiting, check=False).returncode]
            codes += [process.wait() for process in beside]
        finally:
            for process in beside:
                process.terminate()
        for output in said:
            output.seek(0)
            sys.stdout.write(output.read())
    return max(map(abs, codes))  # that of a killed one is negative


if __name__ == "__main__":
    sys.exit(main())
