import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from artefacts.process.process_start import start_of
from tests.servers.serving import wait_until


def test_a_process_keeps_its_start_and_another_one_has_a_later_one() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert start_of(os.getpid()) == start_of(os.getpid())
        assert int(start_of(os.getpid())) < int(start_of(child.pid))


def test_one_that_ended_has_none_whether_its_parent_has_looked_or_not() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)

    assert "" == start_of(child.pid)
    child.wait()
    assert "" == start_of(child.pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
def test_setting_the_clock_does_not_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before, create_time = start_of(os.getpid()), psutil.Process.create_time

    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + 3600)

    assert before == start_of(os.getpid())
