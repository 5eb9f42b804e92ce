"""The chart: what belongs together finds each other, and what does not is kept apart."""

import re
from typing import Any

import yaml

from artefacts.addresses import PROJECT_ROOT
from deploy.jobs.schedule import JOBS
from tests.integration.deploy.chart import (
    Manifest,
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
from tests.integration.deploy.test_compose import environment_of

pytestmark = needs_helm
RULES = PROJECT_ROOT / "deploy/prometheus/rules.yaml"
REDIS_CONF = PROJECT_ROOT / "deploy/redis/redis.conf"


def test_service_and_jobs_are_two_users_of_redis(manifests: list[Manifest]) -> None:
    keys = {
        name.removeprefix("demo-churn-service"): environment(container)["REDIS_URL"]["secretKeyRef"]["key"]
        for name, template in pod_templates(manifests)
        for container in containers(template)
        if "REDIS_URL" in environment(container)
    }

    assert keys == {"": "service-url", "-features": "jobs-url", "-materialize": "jobs-url"}


def test_the_jobs_image_is_run_as_the_user_that_it_was_built_for(everything: list[Manifest]) -> None:
    built = (PROJECT_ROOT / "deploy/image/Containerfile.jobs").read_text()

    for name, template in pod_templates(of_kind(everything, "CronJob")):
        user = template["spec"]["securityContext"]
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in built, name


def test_the_image_is_run_as_it_was_built(everything: list[Manifest]) -> None:
    built = (PROJECT_ROOT / "deploy/image/Containerfile").read_text()
    pod = dict(pod_templates(everything))["demo-churn-service"]["spec"]
    (container,) = pod["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    registry = re.search(r"FEAST_REGISTRY=(\S+)/registry\.db", built)

    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}\n" in built
    assert f"EXPOSE {container['ports'][0]['containerPort']}\n" in built
    assert registry
    of_claim = dict(pod_templates(render(values_of("minimal"))))["demo-churn-service"]["spec"]["containers"][0]
    assert registry.group(1) in {mount["mountPath"] for mount in of_claim["volumeMounts"]}
    assert re.search(r"HOME=/tmp\b", built)
    assert "/tmp" in mounted  # noqa: S108  # in the container
    assert not {"command", "args"} & container.keys()


def test_every_selector_selects_its_pods_and_no_others(manifests: list[Manifest]) -> None:
    templates = dict(pod_templates(manifests))
    for manifest in manifests:
        spec, name, kind = manifest.get("spec", {}), manifest["metadata"]["name"], manifest["kind"]
        if kind in ("Deployment", "StatefulSet"):
            assert [n for n, t in templates.items() if selects(spec["selector"]["matchLabels"], t)] == [name]
            for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
                assert selects(spread["labelSelector"]["matchLabels"], spec["template"])
        elif kind == "Service":
            assert [n for n, t in templates.items() if selects(spec["selector"], t)] == [name]
        elif kind == "PodDisruptionBudget":
            assert [n for n, t in templates.items() if selects(spec["selector"]["matchLabels"], t)] == [name]
        elif kind == "ServiceMonitor":
            services = [s for s in of_kind(manifests, "Service") if selects(spec["selector"]["matchLabels"], s)]
            assert [s["metadata"]["name"] for s in services] == [name]


def test_every_port_that_is_named_is_there(manifests: list[Manifest]) -> None:
    templates = dict(pod_templates(manifests))
    ports = {name: {p["name"] for c in containers(t) for p in c.get("ports", [])} for name, t in templates.items()}
    for service in of_kind(manifests, "Service"):
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports[service["metadata"]["name"]]
    for name, template in templates.items():
        for container in containers(template):
            probes = [container[p] for p in ("startupProbe", "livenessProbe", "readinessProbe") if p in container]
            assert {p["httpGet"]["port"] for p in probes if "httpGet" in p} <= ports[name]
    for monitor in of_kind(manifests, "ServiceMonitor"):
        (service,) = (s for s in of_kind(manifests, "Service") if s["metadata"]["name"] == monitor["metadata"]["name"])
        assert {e["port"] for e in monitor["spec"]["endpoints"]} <= {p["name"] for p in service["spec"]["ports"]}
    for policy in of_kind(manifests, "NetworkPolicy"):
        chosen = [n for n, t in templates.items() if selects(policy["spec"]["podSelector"]["matchLabels"], t)]
        for rule in policy["spec"].get("ingress", []):
            assert {p["port"] for p in rule["ports"]} <= {p for n in chosen for p in ports[n]}


def test_service_and_jobs_reach_redis_and_nothing_but_what_they_need() -> None:
    manifests = render(values_of("production"))
    policies = {p["metadata"]["name"]: p["spec"] for p in of_kind(manifests, "NetworkPolicy")}

    def reaches(name: str) -> list[tuple[Any, set[int]]]:
        return [(rule.get("to"), {p["port"] for p in rule["ports"]}) for rule in policies[name]["egress"]]

    redis = ([{"ipBlock": {"cidr": "10.20.0.0/16"}}], {6380})
    dns = ([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}], {53})
    mlflow = ([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mlflow"}}}], {5000})

    assert reaches("demo-churn-service") == [dns, redis]
    assert reaches("demo-churn-service-jobs") == [dns, redis, mlflow]
    assert "ingress" not in policies["demo-churn-service-jobs"]
    assert all("Egress" in p["policyTypes"] and "Ingress" in p["policyTypes"] for p in policies.values())


def test_the_cluster_runs_the_jobs_of_one_machine_at_the_same_times() -> None:
    values = {**values_of("production")}
    values["service"] = {**values["service"], "pseudonyms": {"existingSecret": ""}}
    crons = {m["metadata"]["name"].removeprefix("demo-churn-service-"): m for m in of_kind(render(values), "CronJob")}
    compose = environment_of("jobs")

    assert {job.name for job in JOBS} == crons.keys()
    for job in JOBS:
        cron = crons[job.name]["spec"]
        run = containers(cron["jobTemplate"]["spec"]["template"])
        weekday = "*" if job.weekday is None else (job.weekday + 1) % 7
        hour = "*" if job.hour is None else job.hour
        assert cron["schedule"] == f"{job.minute} {hour} * * {weekday}"
        # Compose has the shipped sample follow the days; a cluster has orders of its own.
        assert [tuple(c["command"][2:]) for c in run] == [each for each in job.commands if "--follow-today" not in each]
        given = environment(run[-1])
        shared = given.keys() & compose.keys() - {"MLFLOW_TRACKING_URI", "JOBS_OWNER"}
        assert {"ORDERS_PATH", "OFFLINE_STORE_DIR", "FEAST_REGISTRY", "BENTOML_HOME"} <= shared
        assert {name: given[name] for name in shared} == {name: compose[name] for name in shared}


def test_the_redis_in_the_chart_lets_service_and_jobs_in_and_nobody_else(everything: list[Manifest]) -> None:
    templates = dict(pod_templates(everything))
    policies = {p["metadata"]["name"]: p["spec"] for p in of_kind(everything, "NetworkPolicy")}
    (rule,) = policies["demo-churn-service-redis"]["ingress"]
    let_in = {n for n, t in templates.items() for p in rule["from"] if selects(p["podSelector"]["matchLabels"], t)}
    redis = templates["demo-churn-service-redis"]
    (port,) = containers(redis)[0]["ports"]

    assert let_in == {n for n in templates if not n.endswith(("-redis", "-job-metrics"))}
    for client in ("demo-churn-service", "demo-churn-service-jobs"):
        towards = [
            rule
            for rule in policies[client]["egress"]
            if any(
                selects(peer.get("podSelector", {}).get("matchLabels", {"": ""}), redis) for peer in rule.get("to", [])
            )
        ]
        assert [p["port"] for rule in towards for p in rule["ports"]] == [port["containerPort"]]
    assert of_kind(render(values_of("minimal")), "StatefulSet") == []


def test_the_redis_in_the_chart_has_the_project_s_configuration_and_the_secret_s_users(
    everything: list[Manifest],
) -> None:
    (configuration,) = of_kind(everything, "ConfigMap")
    pod = dict(pod_templates(everything))["demo-churn-service-redis"]["spec"]
    users = next(v["secret"] for v in pod["volumes"] if v["name"] == "users")
    place = next(m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "users")

    assert configuration["data"]["redis.conf"].rstrip() == REDIS_CONF.read_text().rstrip()
    assert users == {"secretName": "churn-redis", "items": [{"key": "users.acl", "path": "redis_users.acl"}]}
    assert f"aclfile {place}/redis_users.acl" in REDIS_CONF.read_text().splitlines()


def test_what_the_operator_of_prometheus_gets_is_complete(everything: list[Manifest]) -> None:
    found = of_kind(everything, "PrometheusRule")
    rule, old_names = sorted(found, key=lambda manifest: len(manifest["metadata"]["name"]))
    monitors = of_kind(everything, "ServiceMonitor")
    rules = yaml.safe_load(RULES.read_text())
    scraped = {
        relabeled["replacement"] for m in monitors for e in m["spec"]["endpoints"] for relabeled in e["relabelings"]
    }

    assert rule["apiVersion"] == monitors[0]["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["spec"] == rules
    assert old_names["spec"] == yaml.safe_load(RULES.with_name("old_names.yaml").read_text())
    assert rule["metadata"]["labels"]["release"] == monitors[0]["metadata"]["labels"]["release"] == "prometheus"
    assert set(re.findall(r'up\{job="([^"]+)"', RULES.read_text())) <= scraped
    for monitor in monitors:
        assert monitor["spec"].keys() == {"selector", "endpoints"}
        assert [e.keys() for e in monitor["spec"]["endpoints"]] == [{"port", "path", "interval", "relabelings"}]


def test_the_old_names_of_metrics_can_be_left_out() -> None:
    manifests = render(with_values("everything", "monitoring.prometheusRule.oldNames", False))

    assert ["demo-churn-service"] == [m["metadata"]["name"] for m in of_kind(manifests, "PrometheusRule")]


def test_the_figures_of_jobs_are_written_where_they_are_served_from(everything: list[Manifest]) -> None:
    templates = dict(pod_templates(everything))
    exporter = containers(templates["demo-churn-service-job-metrics"])[0]
    (mount,) = exporter["volumeMounts"]
    written = {
        argument
        for name, template in templates.items()
        for c in containers(template)
        for argument in [*c.get("command", []), environment(c).get("MATERIALIZE_RUNS_PATH", "")]
        if str(argument).startswith("/artefacts/")
    }

    assert (mount["mountPath"], mount["subPath"], mount["readOnly"]) == ("/reports", "reports", True)
    assert "--collector.textfile.directory=/reports/*" in exporter["args"]
    assert written == {
        "/artefacts/reports/skew",
        "/artefacts/reports/drift",
        "/artefacts/reports/labels.parquet",
        "/artefacts/reports/live_quality",
        "/artefacts/reports/materialize/runs.jsonl",
    }


def test_the_autoscaler_scales_the_deployment_which_then_names_no_number(everything: list[Manifest]) -> None:
    (scaler,) = of_kind(everything, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    (deployment,) = (d for d in of_kind(everything, target["kind"]) if d["metadata"]["name"] == target["name"])

    assert (deployment["apiVersion"], deployment["kind"]) == (target["apiVersion"], target["kind"])
    assert "replicas" not in deployment["spec"]


def test_service_and_jobs_trust_the_same_types_of_models(everything: list[Manifest]) -> None:
    ours = [
        container
        for name, template in pod_templates(everything)
        if not name.endswith(("-redis", "-job-metrics"))
        for container in containers(template)
    ]

    assert len(ours) > 6
    assert {"shop.features.Rounder shop.features.Ratio"} == {
        environment(container)["MODEL_TRUSTED_TYPES"] for container in ours
    }


def test_jobs_say_whose_rows_they_write_as_their_disk_may_not_stay(everything: list[Manifest]) -> None:
    for name, template in pod_templates(of_kind(everything, "CronJob")):
        assert "churn/demo" == environment(containers(template)[-1])["JOBS_OWNER"], name

    named = render(with_values("everything", "jobs.settings", {"JOBS_OWNER": "the shop"}))
    for name, template in pod_templates(of_kind(named, "CronJob")):
        variables = [one["name"] for one in containers(template)[-1]["env"]]
        assert (1, "the shop") == (
            variables.count("JOBS_OWNER"),
            environment(containers(template)[-1])["JOBS_OWNER"],
        ), name
