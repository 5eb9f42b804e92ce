"""Calls to this machine itself never go through a proxy, whatever the environment says of proxies."""

from collections.abc import MutableMapping

_OWN = ("localhost", "127.0.0.1", "::1")


def keep_loopback_direct(environment: MutableMapping[str, str]) -> None:
    """Add this machine's own names to the hosts that are asked without a proxy.

    Libraries (MLflow's client, exporters) read `no_proxy` when they call. Some take the lower-case name, some the
    upper-case one, so both say the same. Where no proxy is set, nothing is changed.
    """
    if not any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in environment):
        return
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    if "*" in hosts:
        return
    without_proxy = ",".join(dict.fromkeys((*hosts, *_OWN)))
    environment["no_proxy"] = environment["NO_PROXY"] = without_proxy
