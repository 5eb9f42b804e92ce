"""The chart on somebody's platform: its routes, names, labels and variables, and what they must not replace."""

import copy
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

from artefacts.addresses import PROJECT_ROOT
from tests.integration.deploy.chart import (
    KUBERNETES,
    Manifest,
    Refused,
    containers,
    environment,
    needs_helm,
    of_kind,
    pod_templates,
    render,
    selects,
    values_of,
    with_values,
)
from tests.integration.deploy.operators_schemas import SCHEMAS

pytestmark = needs_helm
SERVICE = "demo-churn-service"
PATH = "/tmp"  # noqa: S108  # in the container


@pytest.fixture(scope="module")
def platform() -> list[Manifest]:
    return render(values_of("platform"))


def _test_pod(manifests: list[Manifest]) -> Manifest:
    (pod,) = of_kind(manifests, "Pod")
    return pod


def test_service_and_jobs_get_what_the_platform_adds(platform: list[Manifest]) -> None:
    for name, template in pod_templates(platform):
        pod = template["spec"]
        assert "churn" == template["metadata"]["labels"]["example.org/team"], name
        assert {"nodeAffinity"} == pod["affinity"].keys(), name
        assert ["dedicated"] == [t["key"] for t in pod["tolerations"]], name
        assert {"name": "authorities", "configMap": {"name": "churn-authorities"}} in pod["volumes"], name
        for container in containers(template):
            given = environment(container)
            assert "http://proxy.example.org:3128" == given["HTTPS_PROXY"], name
            assert {"secretKeyRef": {"name": "churn-warehouse", "key": "token"}} == given["WAREHOUSE_TOKEN"], name
            assert [{"configMapRef": {"name": "churn-environment"}, "prefix": "SHOP_"}] == container["envFrom"], name
            assert "/etc/authorities" in {m["mountPath"] for m in container["volumeMounts"]}, name
    of_jobs = dict(pod_templates(of_kind(platform, "CronJob"))).values()
    assert {"features"} == {t["metadata"]["annotations"]["example.org/cost"] for t in of_jobs}
    assert {"batch"} == {t["spec"]["nodeSelector"]["example.org/pool"] for t in of_jobs}


@pytest.mark.parametrize("place", ["service", "jobs"])
@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("extraEnv", [{"name": "REDIS_URL", "value": "redis://elsewhere"}], "extraEnv: name REDIS_URL is taken"),
        ("extraEnv", [{"name": "INFERENCE_LOG_DIR", "value": "/x"}], "extraEnv: name INFERENCE_LOG_DIR is taken"),
        ("extraEnv", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], "extraEnv: name A is taken"),
        ("extraVolumes", [{"name": "temporary", "emptyDir": {}}], "extraVolumes: name temporary is taken"),
        ("extraVolumeMounts", [{"name": "x", "mountPath": PATH}], f"extraVolumeMounts: mountPath {PATH} is taken"),
        ("podLabels", {"app.kubernetes.io/name": "x"}, "podLabels: app.kubernetes.io/name is a label of the chart"),
        ("extraEnv", [{"name": "SHOP_PASSWORD", "value": "hunter2"}], "extraEnv/0"),
        ("extraEnv", [{"name": "A"}], "extraEnv/0"),
        ("extraVolumes", [{"emptyDir": {}}], "extraVolumes/0"),
    ],
)
def test_what_the_chart_sets_is_not_replaced(place: str, key: str, value: object, named: str) -> None:
    with pytest.raises(Refused) as said:
        render(with_values("minimal", f"{place}.{key}", value))

    assert place in str(said.value)
    assert named in str(said.value)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("fullnameOverride", "Spend", "/fullnameOverride"),
        ("ingress.enabled", True, "ingress.hosts"),
        ("ingress", {"enabled": True, "hosts": ["https://x"]}, "/ingress/hosts/0"),
        ("httpRoute.enabled", True, "httpRoute.parentRefs"),
        ("httpRoute.parentRefs", [{"gateway": "edge"}], "/httpRoute/parentRefs/0"),
        ("httpRoute.parentRefs", [{"name": "edge", "port": "443"}], "/httpRoute/parentRefs/0/port"),
        ("httpRoute.hostnames", ["a..b"], "/httpRoute/hostnames/0"),
        ("httpRoute.timeouts", {"request": "ten seconds"}, "/httpRoute/timeouts/request"),
        ("autoscaling", {"enabled": True, "by": "prometheus"}, "autoscaling.prometheus.serverAddress"),
        ("autoscaling.by", "memory", "/autoscaling/by"),
        ("autoscaling.prometheus", {"serverAddress": "http://user:password@p"}, "/autoscaling/prometheus"),
        ("monitoring.prometheusRule.runbookBaseUrl", "docs/", "/monitoring/prometheusRule/runbookBaseUrl"),
    ],
)
def test_half_a_switch_is_refused_with_its_key(key: str, value: object, named: str) -> None:
    with pytest.raises(Refused) as said:
        render(with_values("minimal", key, value))

    assert named in str(said.value)


def test_one_name_can_be_given_to_everything() -> None:
    rendered = render({**values_of("everything"), "fullnameOverride": "answers"}, release="spend")

    assert all(m["metadata"]["name"].split("-")[0] == "answers" for m in rendered)


def test_routes_are_off_until_asked_for_and_lead_to_the_service(platform: list[Manifest]) -> None:
    (service,) = (s for s in of_kind(platform, "Service") if s["metadata"]["name"] == SERVICE)
    (port,) = service["spec"]["ports"]
    (ingress,) = of_kind(platform, "Ingress")
    (rule,) = ingress["spec"]["rules"]
    (route,) = of_kind(platform, "HTTPRoute")
    (routed,) = route["spec"]["rules"]

    assert {"name": SERVICE, "port": {"name": port["name"]}} == rule["http"]["paths"][0]["backend"]["service"]
    assert ("nginx", "churn.example.org") == (ingress["spec"]["ingressClassName"], rule["host"])
    assert [{"name": SERVICE, "port": port["port"]}] == routed["backendRefs"]
    assert "gateway.networking.k8s.io/v1" == route["apiVersion"]
    assert {"request": "10s"} == routed["timeouts"]
    assert {"Ingress", "HTTPRoute"} & {m["kind"] for m in render(values_of("minimal"))} == set()


def test_prometheus_or_processor_time_scales_and_never_both(platform: list[Manifest]) -> None:
    (scaled,) = of_kind(platform, "ScaledObject")
    (deployment,) = of_kind(platform, "Deployment")
    (trigger,) = scaled["spec"]["triggers"]

    assert [] == of_kind(platform, "HorizontalPodAutoscaler")
    assert [] == of_kind(render(values_of("everything")), "ScaledObject")
    assert deployment["metadata"]["name"] == scaled["spec"]["scaleTargetRef"]["name"]
    assert "replicas" not in deployment["spec"]
    assert f'sum(rate(model_service_requests_total{{job="{SERVICE}"}}[1m]))' == trigger["metadata"]["query"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())  # as KEDA's schema says


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_what_operators_read_is_valid_to_the_letter(platform: list[Manifest], kind: str) -> None:
    (manifest,) = of_kind(platform, kind)
    valid = jsonschema_rs.Draft202012Validator(SCHEMAS[kind])

    valid.validate(manifest)

    misspelt, half = copy.deepcopy(manifest), copy.deepcopy(manifest)
    misspelt["spec"]["timeouts"] = {}
    half["spec"].popitem()
    assert [False, False] == [valid.is_valid(each) for each in (misspelt, half)]


def test_routes_and_scaling_are_valid_with_all_that_values_may_say() -> None:
    every = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge", "namespace": "gateways"}
    route = {
        "enabled": True,
        "annotations": {"example.org/owner": "churn"},
        "parentRefs": [{**every, "sectionName": "https", "port": 443}, {"name": "inner"}],
        "hostnames": ["*.example.org", "churn.example.org"],
        "timeouts": {"request": "1m30s", "backendRequest": "500ms"},
    }
    prometheus = {"serverAddress": "https://p.example.org", "query": "sum(up)", "perReplica": 0.5}
    values = {**values_of("platform"), "httpRoute": route}
    values["autoscaling"] = {**values["autoscaling"], "minReplicas": 2, "maxReplicas": 9, "prometheus": prometheus}

    made = {m["kind"]: m for m in render(values, release="a" * 53) if m["kind"] in SCHEMAS}

    assert SCHEMAS.keys() == made.keys()
    for kind, manifest in made.items():
        jsonschema_rs.Draft202012Validator(SCHEMAS[kind]).validate(manifest)


def test_the_dashboard_is_the_project_s_and_the_sidecar_finds_it(platform: list[Manifest]) -> None:
    (configuration,) = of_kind(platform, "ConfigMap")
    (text,) = configuration["data"].values()

    assert "1" == configuration["metadata"]["labels"]["grafana_dashboard"]
    assert json.loads((PROJECT_ROOT / "deploy/grafana/dashboards/model-service.json").read_text()) == json.loads(text)


def test_runbooks_get_the_address_of_the_platform(platform: list[Manifest]) -> None:
    def runbooks(spec: Any) -> list[str]:
        rules = [rule for group in spec["groups"] for rule in group["rules"]]
        return [rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule]

    ours = runbooks(yaml.safe_load((PROJECT_ROOT / "deploy/prometheus/rules.yaml").read_text()))
    (given,) = (m for m in of_kind(platform, "PrometheusRule") if m["metadata"]["name"] == SERVICE)

    assert [f"https://code.example.org/churn/blob/main/{path}" for path in ours] == runbooks(given["spec"])
    assert all((PROJECT_ROOT / path.split("#")[0]).is_file() for path in ours)


def test_the_pod_of_helm_test_is_locked_down_like_the_others(platform: list[Manifest]) -> None:
    pod = _test_pod(platform)
    (container,) = containers(pod)
    service = dict(pod_templates(platform))[SERVICE]["spec"]

    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    assert "test" == pod["metadata"]["annotations"]["helm.sh/hook"]
    assert service["containers"][0]["image"] == container["image"]
    assert service["containers"][0]["securityContext"] == container["securityContext"]
    assert service["securityContext"] == pod["spec"]["securityContext"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert {"requests", "limits"} == container["resources"].keys()


def test_no_policy_stands_between_helm_test_and_the_service(platform: list[Manifest]) -> None:
    pod, service = _test_pod(platform), dict(pod_templates(platform))[SERVICE]
    policies = {p["metadata"]["name"]: p["spec"] for p in of_kind(platform, "NetworkPolicy")}
    (let_in,) = policies[SERVICE]["ingress"]

    assert any(selects(p["podSelector"]["matchLabels"], pod) for p in let_in["from"] if "podSelector" in p)
    assert [f"{SERVICE}-test"] == [n for n, p in policies.items() if selects(p["podSelector"]["matchLabels"], pod)]
    _, towards = policies[f"{SERVICE}-test"]["egress"]
    assert selects(towards["to"][0]["podSelector"]["matchLabels"], service)
    assert [s for s in of_kind(platform, "Service") if selects(s["spec"]["selector"], pod)] == []


class Answers(BaseHTTPRequestHandler):
    """A service that is ready and has one key."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        key = self.headers.get("Authorization")
        self.asked.append((self.path, key))
        self.send_response(200 if self.path == "/readyz" or key == "Bearer k" else 401)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Answers.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _run_test(pod: Manifest, address: str, key: str = "") -> subprocess.CompletedProcess[str]:
    (container,) = containers(pod)
    program, paths = container["command"][1:], container["args"][1:]
    environ = {"API_KEY": key} if "API_KEY" in environment(container) else {}
    return subprocess.run(
        [sys.executable, *program, address, *paths], env=environ, capture_output=True, text=True, check=False
    )


def test_helm_test_asks_for_the_model_where_it_has_a_key(platform: list[Manifest], address: str) -> None:
    done = _run_test(_test_pod(platform), address, "k")

    assert (0, "") == (done.returncode, done.stderr)
    assert [("/readyz", "Bearer k"), ("/model", "Bearer k")] == Answers.asked


def test_helm_test_asks_whether_the_service_is_ready_where_it_has_none(address: str) -> None:
    assert 0 == _run_test(_test_pod(render(values_of("minimal"))), address).returncode
    assert [("/readyz", None)] == Answers.asked


def test_helm_test_fails_in_one_line_without_the_key(platform: list[Manifest], address: str) -> None:
    done = _run_test(_test_pod(platform), address, "wrong")

    assert 1 == done.returncode
    assert "/model: HTTP Error 401: Unauthorized\n" == done.stderr
