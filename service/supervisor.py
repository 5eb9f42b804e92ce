"""Closes the ports of BentoML's supervisor, circus, which takes commands from every user of the machine.

No option closes them. A command can run anything as the service's user, and reads the workers' environment with its
secrets. A second port publishes events of the workers. Both are ZeroMQ sockets in the one context of the process, so
they take the context's default socket options.
"""

import zmq

from service.errors import StartupError


def close_to_everybody() -> None:
    """Make every ZeroMQ socket of this process require a key that is given to nobody.

    Call it before the supervisor opens its ports. Signals still end it. `bentoml serve --reload` sends commands, so it
    no longer reloads.

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
