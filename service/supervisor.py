"""Closes the ports of BentoML's supervisor, circus, which takes commands from every user of the machine.

No option closes them. A command can run anything as the service's user, and reads the workers' environment with its
secrets. A second port publishes events of the workers. Both are ZeroMQ sockets in the one context of the process, so
they take the context's default socket options.
"""

import logging
import os
import signal
import threading
from pathlib import Path

import click
import zmq

from service.errors import StartupError

logger = logging.getLogger("service")


def close_to_everybody() -> None:
    """Make every ZeroMQ socket of this process require a key that is given to nobody.

    Call it before the supervisor opens its ports. Signals still end it. What `bentoml serve --reload` starts sends
    commands too, so `reload_on_changes` does its work.

    Raises:
        StartupError: the installed ZeroMQ cannot encrypt; its ports would be open.
    """
    if not zmq.has("curve"):  # pyzmq ignores options that its library does not know
        raise StartupError(
            "the installed pyzmq has no CURVE, so every user of this machine could command BentoML's supervisor; "
            "install the locked one (`make install`)"
        )
    _, secret = zmq.curve_keypair()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    context.setsockopt(zmq.CURVE_SERVER, 1)
    context.setsockopt(zmq.CURVE_SECRETKEY, secret)


def reload_on_changes(*folders: Path) -> None:
    """Restart the workers whenever Python code changes, if `bentoml serve` was called with `--reload`.

    Call it in the supervisor's main thread, before it starts the workers. Its signal for that is SIGHUP.

    Args:
        folders: of code.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("reload"):
        threading.Thread(target=_watch, args=folders, name="reload", daemon=True).start()


def _watch(*folders: Path) -> None:
    from watchfiles import PythonFilter, watch  # only a developer needs it

    for changes in watch(*folders, watch_filter=PythonFilter()):
        logger.warning("reloading, changed: %s", ", ".join(sorted(path for _, path in changes)))
        os.kill(os.getpid(), signal.SIGHUP)
