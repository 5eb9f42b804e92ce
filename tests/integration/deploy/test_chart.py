"""The chart: what it renders is valid, locked down and consistent."""

import json
import re
import tomllib
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from artefacts.addresses import PROJECT_ROOT, Artefacts
from jobs.__main__ import JOBS
from jobs.__main__ import main as jobs_main
from tests.integration.deploy.chart import (
    CHART,
    KUBERNETES,
    OPERATORS_KINDS,
    VALUE_SETS,
    Manifest,
    containers,
    environment,
    needs_helm,
    of_kind,
    pod_templates,
    render,
    values_of,
    with_values,
)
from training.__main__ import TRAINING
from training.__main__ import main as training_main

pytestmark = needs_helm
ANOTHER: Final = {
    "image": {"repository": "spend-service"},
    "redis": {"existingSecret": "spend-redis", "inChart": {"enabled": True}},
    "service": {"apiKeys": {"existingSecret": "spend-api-keys"}},
    "jobs": {"image": {"repository": "spend-jobs"}, "env": {"WAREHOUSE": "spend.example.org"}},
}
"""Values of a use case that knows nothing of the shipped one."""


@pytest.mark.parametrize("name", [None, *VALUE_SETS])
def test_helm_s_linter_has_nothing_to_say(name: str | None) -> None:
    import helm_python

    found = helm_python.lint(CHART, values_of(name) if name else None, strict=True)

    assert [m for m in found["messages"] if m["error"] != "icon is recommended"] == []
    assert found["errors"] == []


@pytest.mark.parametrize("version", [KUBERNETES, kubernetes_validate.latest_version()])
def test_every_manifest_is_valid_to_the_letter(manifests: list[Manifest], version: str) -> None:
    of_kubernetes = [m for m in manifests if m["kind"] not in OPERATORS_KINDS]

    for manifest in of_kubernetes:
        kubernetes_validate.validate(manifest, version, strict=True)

    assert {"Deployment", "Service", "ServiceAccount", "CronJob"} <= {m["kind"] for m in of_kubernetes}


def test_names_are_unique_and_short_enough(manifests: list[Manifest]) -> None:
    named = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    long = render(values_of("everything"), release="a" * 53)

    assert len(set(named)) == len(named)
    assert max(len(m["metadata"]["name"]) for m in of_kind(long, "CronJob")) <= 52
    assert max(len(m["metadata"]["name"]) for m in long) <= 63


def test_no_container_may_do_more_than_it_must(manifests: list[Manifest]) -> None:
    for name, template in pod_templates(manifests):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


def test_every_container_says_what_it_needs_and_may_use(manifests: list[Manifest]) -> None:
    for name, template in pod_templates(manifests):
        for container in containers(template):
            for bound in ("requests", "limits"):
                assert {"cpu", "memory"} <= container["resources"][bound].keys(), name


def test_every_image_is_pinned(manifests: list[Manifest]) -> None:
    images = [c["image"] for _, template in pod_templates(manifests) for c in containers(template)]

    assert [
        i for i in images if not re.search(r":[\w][\w.-]*$|@sha256:[0-9a-f]{64}$", i) or i.endswith(":latest")
    ] == []


def test_what_is_mounted_is_there_and_what_is_there_is_mounted(manifests: list[Manifest]) -> None:
    claims = {m["metadata"]["name"] for m in of_kind(manifests, "PersistentVolumeClaim")}
    for name, template in pod_templates(manifests):
        volumes = {v["name"]: v for v in template["spec"].get("volumes", [])}
        templates = {"data"} if name.endswith("-redis") else set()  # volumeClaimTemplates
        mounted = {m["name"] for c in containers(template) for m in c["volumeMounts"]}
        assert mounted == volumes.keys() | templates, name
        assert {
            v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v
        } <= claims


def test_secrets_come_by_reference_alone(everything: list[Manifest]) -> None:
    assert of_kind(everything, "Secret") == []
    for _, template in pod_templates(everything):
        for container in containers(template):
            for variable, value in environment(container).items():
                if re.search("PASSWORD|USERNAME|REDIS_URL|TOKEN|FEAST_REGISTRY", variable):
                    assert "secretKeyRef" in value, variable
    service = environment(next(pod_templates(of_kind(everything, "Deployment")))[1]["spec"]["containers"][0])
    assert service["SERVICE_API_KEYS_FILE"] == "/etc/api-keys/keys.txt"
    assert service["SERVICE_INFERENCE_LOG_ID_KEY_FILE"] == "/etc/pseudonyms/id_key"


def test_a_rollout_takes_no_replica_away_and_leaves_time_to_drain(manifests: list[Manifest]) -> None:
    deployment = next(d for d in of_kind(manifests, "Deployment") if d["metadata"]["name"] == "demo-churn-service")
    pod = deployment["spec"]["template"]["spec"]
    waits = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert pod["terminationGracePeriodSeconds"] >= waits + 10  # the service ends within 2 s, its log within 5 more
    assert {p["httpGet"]["path"] for k in ("startupProbe", "livenessProbe") for p in [pod["containers"][0][k]]} == {
        "/livez"
    }


def test_numbers_and_switches_are_text_that_the_settings_understand(everything: list[Manifest]) -> None:
    deployment = next(t for n, t in pod_templates(everything) if n == "demo-churn-service")
    given = environment(containers(deployment)[0])

    assert given["SERVICE_MAX_BODY_BYTES"] == "2000000"
    assert given["SERVICE_DEADLINE_MS"] == "100.5"
    assert given["SERVICE_TRACING"] == "true"
    assert given["SERVICE_IMAGE"] == containers(deployment)[0]["image"]
    assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.tracing.svc:4318"


def _parsed(command: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the command line of that room takes it; the command itself is not run."""
    python, dash_m, room, *arguments = command
    assert (python, dash_m) == ("python", "-m")
    main, commands = {"jobs": (jobs_main, JOBS), "training": (training_main, TRAINING)}[room]
    taken: list[Any] = []
    for each in commands.commands.values():
        monkeypatch.setattr(each, "callback", lambda **given: taken.append(given))
    return main(arguments) == 0 and len(taken) == 1


def test_every_job_runs_a_command_that_there_is(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    for cron in of_kind(manifests, "CronJob"):
        for container in containers(cron["spec"]["jobTemplate"]["spec"]["template"]):
            assert _parsed([*container["command"], *container.get("args", [])], monkeypatch), container["command"]


def test_jobs_do_not_overlap_and_a_verdict_is_not_tried_again(everything: list[Manifest]) -> None:
    crons = of_kind(everything, "CronJob")

    assert {c["metadata"]["name"].removeprefix("demo-churn-service-") for c in crons} == {
        "features",
        "materialize",
        "audit-skew",
        "drift",
        "live-quality",
        "retrain",
    }
    for cron in crons:
        assert cron["spec"]["concurrencyPolicy"] == "Forbid"
        job = cron["spec"]["jobTemplate"]["spec"]
        (verdicts, _) = job["podFailurePolicy"]["rules"]
        assert verdicts["action"] == "FailJob"
        assert verdicts["onExitCodes"] == {"operator": "In", "values": [2, 3, 4]}
        assert job["template"]["spec"]["restartPolicy"] == "Never"  # a pod failure policy needs it
        assert "job" in [c["name"] for c in job["template"]["spec"]["containers"]]


def test_jobs_know_where_every_artefact_is(everything: list[Manifest]) -> None:
    for cron in of_kind(everything, "CronJob"):
        template = cron["spec"]["jobTemplate"]["spec"]["template"]
        given = {k: v if isinstance(v, str) else "redis://r" for k, v in environment(containers(template)[-1]).items()}
        found = Artefacts.of(given, PROJECT_ROOT).model_dump(exclude={"redis_url", "feast_registry", "use_case"})
        assert [name for name, place in found.items() if str(PROJECT_ROOT) in str(place)] == []


def test_what_is_rendered_for_another_use_case_says_nothing_of_the_shipped_one() -> None:
    rendered = render(ANOTHER, release="spend", namespace="shop")

    assert [] == re.findall(r"(?i)churn|customer|recency|retained|.*\borders?\b.*", json.dumps(rendered))
    assert {"spend-service:0.1.0", "spend-jobs:0.1.0", "redis:7.4.2-alpine"} == {
        container["image"] for _, template in pod_templates(rendered) for container in containers(template)
    }
    for _, template in pod_templates(of_kind(rendered, "CronJob")):
        assert "spend.example.org" == environment(containers(template)[-1])["WAREHOUSE"]


@pytest.mark.parametrize("file", sorted(file.name for file in (CHART / "templates").iterdir()))
def test_a_template_knows_no_use_case(file: str) -> None:
    text = (CHART / "templates" / file).read_text()

    assert [] == re.findall(r"(?i)churn|customer|recency|retained|\w*\borders?\b", text)


@pytest.mark.parametrize(
    ("release", "override", "name"),
    [
        ("spend", "", "spend-model-service"),
        ("spend-service", "", "spend-service"),
        ("my-model-service-2", "", "my-model-service-2"),
        ("demo", "churn-service", "demo-churn-service"),
        ("churn-service", "churn-service", "churn-service"),
    ],
)
def test_everything_is_named_by_the_release(release: str, override: str, name: str) -> None:
    rendered = render({**ANOTHER, "nameOverride": override}, release=release)

    assert {name, f"{name}-redis"} == {m["metadata"]["name"] for m in of_kind(rendered, "Service")}
    assert {override or "model-service"} == {m["metadata"]["labels"]["app.kubernetes.io/name"] for m in rendered}


def test_where_no_features_are_built_materialize_applies_the_definitions() -> None:
    def of_materialize(**features: Any) -> list[list[str]]:
        crons = of_kind(render(with_values("minimal", "jobs.features", features)), "CronJob")
        (cron,) = (c for c in crons if c["metadata"]["name"].endswith("-materialize"))
        return [c["command"][3:] for c in containers(cron["spec"]["jobTemplate"]["spec"]["template"])]

    assert [["materialize"]] == of_materialize(enabled=True)
    assert [["apply"], ["materialize"]] == of_materialize(enabled=False)


def test_the_chart_has_the_project_s_version() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (project["version"], project["version"])
    assert chart["kubeVersion"] == f">={KUBERNETES}.0-0"
    assert json.loads((CHART / "values.schema.json").read_text())["additionalProperties"] is False
