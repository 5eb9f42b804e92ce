import signal
import subprocess
import sys

INTERRUPTED = """
import signal
import click
from artefacts.process.command_line import run_command

signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it from the start

@click.command()
def interrupted() -> None:
    signal.raise_signal(signal.SIGINT)

run_command(interrupted, [])
"""


def test_ctrl_c_ends_a_command_by_the_signal_with_one_line_and_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)

    assert (-signal.SIGINT, "stopped\n") == (done.returncode, done.stderr)
