"""Who closes an idle connection first: never the service, or a request that is on its way is lost."""

import math
import re
from typing import Any

import yaml

from artefacts.addresses import PROJECT_ROOT
from service.settings import ServiceSettings

USUAL_PROXIES_SECONDS = 60
SETTING = "SERVICE_KEEP_ALIVE_SECONDS"


def read(path: str) -> Any:
    return yaml.safe_load((PROJECT_ROOT / "deploy" / path).read_text())


def test_service_chart_and_compose_say_the_same_and_it_is_longer_than_usual_proxies_wait() -> None:
    ours = ServiceSettings.model_fields["keep_alive_seconds"].default
    in_chart = read("helm/model-service/values.yaml")["service"]["settings"][SETTING]
    replicas = [read("compose.yaml")["services"][name]["environment"] for name in ("service-1", "service-2")]

    assert [ours] * 3 == [in_chart, *(int(environment[SETTING]) for environment in replicas)]
    assert ours > USUAL_PROXIES_SECONDS


def test_our_proxy_lets_idle_connections_go_before_the_service_does() -> None:
    """HAProxy closes half of them, rounded up, after each delay; more than 64 at a time it has no use for."""
    proxy = (PROJECT_ROOT / "deploy/proxy/haproxy.cfg").read_text()
    (delay,) = re.findall(r"^ *default-server .*pool-purge-delay (\d+)s", proxy, flags=re.MULTILINE)

    assert int(delay) * math.ceil(math.log2(64) + 1) < ServiceSettings.model_fields["keep_alive_seconds"].default
    assert f"({ServiceSettings.model_fields['keep_alive_seconds'].default})" in proxy
