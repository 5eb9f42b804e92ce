"""One process holds a lock; others wait or are refused; the system frees what a process held."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from artefacts.process.file_locks import locked, take_lock

HOLD = (
    "import sys, fcntl; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


def holder(file: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "held\n" == process.stdout.readline()
    return process


def test_a_lock_that_another_process_holds_is_refused_and_free_after_its_end(tmp_path: Path) -> None:
    with holder(tmp_path / ".lock") as other:
        with pytest.raises(BlockingIOError), locked(tmp_path / ".lock", wait=False):
            pass
        other.kill()
        other.wait()
        with locked(tmp_path / ".lock", wait=False):
            pass


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    with holder(tmp_path / ".lock") as other:
        other.communicate("\n")
        with locked(tmp_path / ".lock"):
            pass


def test_a_lock_is_held_for_the_block_and_free_after_it(tmp_path: Path) -> None:
    file = tmp_path / "made" / ".lock"
    with locked(file), pytest.raises(BlockingIOError):
        take_lock(file, wait=False)
    take_lock(file, wait=False).close()


def test_a_lock_is_free_after_a_block_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / ".lock"):
        _ = 1 / 0
    take_lock(tmp_path / ".lock", wait=False).close()


def test_a_lock_that_was_taken_is_held_until_it_is_closed(tmp_path: Path) -> None:
    lock = take_lock(tmp_path / ".lock")
    with (tmp_path / ".lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.close()
    take_lock(tmp_path / ".lock", wait=False).close()
