"""BentoML's supervisor, circus: it takes commands on a port of loopback from everybody, and no option closes that port.

Whoever may command it can have it run anything as the service's user, and is told the environment of the workers, with
every secret that is in it. A second port tells of the workers. Both are sockets of ZeroMQ in the one context of the
process, so what new sockets of that context are given by default holds for them, too.
"""

import zmq

from service.errors import StartupError


def close_to_everybody() -> None:
    """Have every ZeroMQ socket of this process talk only to those who know a key that nobody is told.

    To be called before the supervisor opens its ports. Signals end it as ever; `bentoml serve --reload` sends commands
    and so reloads nothing.

    Raises:
        StartupError: the installed ZeroMQ cannot encrypt; its ports would be open.
    """
    if not zmq.has("curve"):  # pyzmq passes over options that its library does not know
        raise StartupError(
            "the installed pyzmq has no CURVE, so every user of this machine could command BentoML's supervisor; "
            "install the locked one (`make install`)"
        )
    _, secret = zmq.curve_keypair()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    context.setsockopt(zmq.CURVE_SERVER, 1)
    context.setsockopt(zmq.CURVE_SECRETKEY, secret)
