"""Closes the ports of BentoML's supervisor, circus, which takes commands from every user of the machine.

No option closes them. A command can run anything as the service's user, and reads the workers' environment with its
secrets. A second port publishes events of the workers. Both are ZeroMQ sockets in the one context of the process, so
they take the context's default socket options.
"""

import logging
import threading
from pathlib import Path

import click
import zmq

from service.errors import StartupError

logger = logging.getLogger("service")

_WORKER = "_bentoml_impl.worker.service"
"""The module that BentoML runs as a worker."""


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

    Call it in the supervisor's main thread. It ends the workers, and circus starts those that have ended again. Circus'
    own signal for that, SIGHUP, would leave it deaf for half a minute, until BentoML's own watcher has been killed.

    Args:
        folders: of code.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("reload"):
        threading.Thread(target=_watch, args=folders, name="reload", daemon=True).start()


def _watch(*folders: Path) -> None:
    import psutil  # only a developer needs these
    from watchfiles import PythonFilter, watch

    for changes in watch(*folders, watch_filter=PythonFilter()):
        logger.warning("reloading, changed: %s", ", ".join(sorted(path for _, path in changes)))
        for child in psutil.Process().children():
            if _WORKER in child.cmdline():
                child.terminate()
