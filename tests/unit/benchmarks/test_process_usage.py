import os
import resource
import subprocess
import sys

import psutil
import pytest

from benchmarks.load.process_usage import MAXRSS_UNIT, WatchedCommand, usage_of, watch_command
from benchmarks.online import servers

MB_OF_CHILD = 150


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_command_that_ends_leaves_its_code_its_output_and_its_time() -> None:
    cost = usage_of(python("import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"), os.environ, 60)

    assert cost.exit_code == 3
    assert sorted(cost.output) == ["one", "two"]
    assert 0 < cost.cpu_seconds
    assert 0 < cost.seconds < 60


def test_memory_that_was_held_between_two_samples_counts() -> None:
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT

    little = usage_of(python("pass"), os.environ, 60)
    much = usage_of(python(f"b'x' * {ours + 50_000_000}"), os.environ, 60)

    assert little.peak_rss_mb < 50
    assert much.peak_rss_mb > ours / 1e6 + 50


def test_memory_of_all_processes_counts() -> None:
    hold = f"held = b'x' * {MB_OF_CHILD}_000_000; print('held', flush=True); input()"
    parent = f"""
import subprocess, sys
words = [sys.executable, "-c", {hold!r}]
children = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
for child in children: child.stdout.readline()
print("ready", flush=True)
import time; time.sleep(60)
"""
    with watch_command(python(parent), os.environ) as running:
        while running.usage().peak_rss_mb < 2 * MB_OF_CHILD:
            assert not running.wait(0.05), running.usage().last_lines()


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_STOP_SECONDS", 1)  # what is started is killed after that
    sleeper = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )

    cost = usage_of(python(f"{sleeper}; print(p.pid, flush=True); time.sleep(60)"), os.environ, 2)

    assert cost.exit_code is None
    for pid in cost.output:
        assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE


def test_lines_have_the_time_at_which_they_came() -> None:
    code = "import time; print('a', flush=True); time.sleep(0.3); print('b', flush=True)"
    with watch_command(python(code), os.environ) as running:
        running.wait(60)
    (first, a), (second, b) = running.lines

    assert (a, b) == ("a", "b")
    assert second - first >= 0.25


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot hold a process to a core")
def test_a_command_can_be_held_to_one_core() -> None:
    core = max(os.sched_getaffinity(0))

    cost = usage_of(python("import os; print(os.sched_getaffinity(0))"), os.environ, 60, core=core)

    assert cost.output == (str({core}),)


def test_a_block_that_fails_ends_its_command() -> None:
    started: list[WatchedCommand] = []

    def fail() -> None:
        with watch_command(python("import time; time.sleep(60)"), os.environ) as running:
            started.append(running)
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert started[0].wait(0)
    assert subprocess.run(["true"], check=False).returncode == 0  # other children are none of its business
