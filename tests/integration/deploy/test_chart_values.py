"""The chart's values: every key is described, and what cannot be meant is refused with the key named."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from artefacts.addresses import PROJECT_ROOT
from deploy.make_secrets import make
from deploy.settings_schema import NOT_TAKEN, SCHEMA, expected_settings
from service.settings import ServiceSettings
from tests.integration.deploy.chart import (
    CHART,
    KUBERNETES,
    OPERATORS_KINDS,
    Refused,
    environment,
    files_of,
    needs_helm,
    of_kind,
    render,
    values_of,
    with_values,
)

WRONG = [
    ("service.replicas", "two", "/service/replicas"),
    ("service.replicas", 0, "/service/replicas"),
    ("service.replica", 2, "'replica'"),
    ("colour", "blue", "'colour'"),
    ("service.settings.SERVICE_DEADLIN_MS", 100, "'SERVICE_DEADLIN_MS'"),
    ("service.settings.SERVICE_DEADLINE_MS", 3000, "/service/settings/SERVICE_DEADLINE_MS"),
    ("service.settings.SERVICE_LOG_LEVEL", "LOUD", "/service/settings/SERVICE_LOG_LEVEL"),
    ("service.settings.SERVICE_API_KEYS", "shop:0123", "'SERVICE_API_KEYS'"),
    ("service.otel.OTEL_EXPORTER_OTLP_HEADERS", "authorization=…", "'OTEL_EXPORTER_OTLP_HEADERS'"),
    ("service.resources.limits.gpu", 1, "'gpu'"),
    ("service.resources.requests.memory", "-1Gi", "/service/resources/requests/memory"),
    ("service.resources.requests.memory", "1GB", "/service/resources/requests/memory"),
    ("service.port", None, "'port'"),
    ("jobs.drift.schedule", "@reboot", "/jobs/drift/schedule"),
    ("jobs.drift.schedule", "TZ=UTC 0 0 * * *", "/jobs/drift/schedule"),
    ("jobs.timeZone", "Local", "/jobs/timeZone"),
    ("image.tag", 1.1, "image.tag is the number 1.1, and its text is lost: put the tag in quotes"),
    ("jobs.image.tag", 1234.5, "jobs.image.tag is the number 1234.5"),
    ("image.tag", 1e300, "/image/tag"),
    ("image.tag", '1"\nx: y', "/image/tag"),
    ("disruptionBudget.minAvailable", "100%", "/disruptionBudget/minAvailable"),
    ("disruptionBudget.minAvailable", "51%", "disruptionBudget.minAvailable (51%) must be below service.replicas (2)"),
    ("service.resources.requests.cpu", "a lot", "/service/resources/requests/cpu"),
    ("service.drainSeconds", -1, "/service/drainSeconds"),
    ("image.tag", "latest", "/image/tag"),
    ("nameOverride", "Spend", "/nameOverride"),
    ("jobs.env.FEAST_REGISTRY", "elsewhere", "FEAST_REGISTRY"),
    ("jobs.env.JOBS_OWNER", "me", "JOBS_OWNER"),
    ("jobs.env.WAREHOUSE_PASSWORD", "hunter2", "WAREHOUSE_PASSWORD"),
    ("redis.inChart.image", "redis", "/redis/inChart/image"),
    ("redis.existingSecret", "redis://user:password@host", "/redis/existingSecret"),
    ("mlflow.trackingUri", "http://user:password@mlflow", "/mlflow/trackingUri"),
    ("registry.source", "somewhere", "/registry/source"),
    ("jobs.settings.JOBS_DAILY_SNAPSHOTS", 0, "/jobs/settings/JOBS_DAILY_SNAPSHOTS"),
    ("jobs.drift.schedule", "daily", "/jobs/drift/schedule"),
    ("networkPolicy.callers", [{"pods": {}}], "/networkPolicy/callers/0"),
    # Rules between values, which a schema cannot say.
    ("redis.existingSecret", "", "redis.existingSecret"),
    ("image.repository", "", "image.repository names no image"),
    ("jobs.image.repository", "", "jobs.image.repository names no image"),
    ("service.apiKeys.existingSecret", "", "service.apiKeys.existingSecret"),
    ("service.replicas", 1, "disruptionBudget.minAvailable (1) must be below service.replicas (1)"),
    ("autoscaling", {"enabled": True, "minReplicas": 9, "maxReplicas": 3}, "autoscaling.minReplicas"),
    ("autoscaling", {"enabled": True, "minReplicas": 1}, "autoscaling.minReplicas"),
    ("registry", {"source": "configMap"}, "registry.configMap"),
    ("registry", {"source": "secret"}, "registry.existingSecret"),
    ("jobs.drift.enabled", True, "jobs.drift.enabled"),
    ("jobs.auditSkew.enabled", True, "jobs.auditSkew.enabled"),
    ("jobs.retrain.enabled", True, "mlflow.trackingUri"),
    ("monitoring.serviceMonitor.enabled", True, "networkPolicy.scrapers"),
    ("service.pseudonyms.existingSecret", "key", "service.pseudonyms.existingSecret"),
]


@needs_helm
@pytest.mark.parametrize(("key", "value", "named"), WRONG, ids=[f"{key}={value}" for key, value, _ in WRONG])
def test_a_value_that_cannot_be_meant_is_refused_with_its_key(key: str, value: object, named: str) -> None:
    with pytest.raises(Refused) as said:
        render(with_values("minimal", key, value))

    assert named in str(said.value)


LEGAL = [
    ("image.tag", 20260101),
    ("image.tag", "1.10"),
    ("image.tag", "0777"),
    ("image.tag", "1e3"),
    ("jobs.image.tag", 20260101),
    ("service.resources", {"limits": {"memory": "1Gi", "cpu": None}}),
    ("service.resources", {"limits": None, "requests": {"cpu": 2, "memory": 1073741824}}),
    ("service.resources", None),
    ("service.resources.limits.cpu", 2),
    ("service.resources.limits.cpu", 0.5),
    ("service.resources.limits.memory", None),
    ("service.resources.limits.memory", "1e9"),
    ("service.resources.limits.memory", "1.5Gi"),
    ("service.resources.limits.memory", 34359738368),
    ("service.resources.limits", {"nvidia.com/gpu": 1, "ephemeral-storage": "2Gi", "hugepages-2Mi": "4Mi"}),
    ("service.temporarySpace", 268435456),
    ("artefacts.size", "1Ti"),
    ("artefacts.size", 107374182400),
    ("artefacts.existingClaim", "123"),
    ("redis.existingSecret", "0123"),
    ("service.apiKeys", {"existingSecret": "true", "key": "1e3"}),
    ("redis.inChart", {"enabled": True, "maxMemory": 536870912, "resources": {"limits": {"cpu": None}}}),
    ("disruptionBudget.minAvailable", "50%"),
    ("service.otel", {"OTEL_BSP_MAX_QUEUE_SIZE": 2048, "OTEL_SERVICE_NAME": 'it\'s "churn" {{ .Values }}: #1\nno'}),
    ("service.podAnnotations", {"example.org/said": 'it\'s "so": {{ .Release.Name }} # no\n- list'}),
    ("service.settings.SERVICE_MODEL_TAG", '"; touch ran; #{{ fail "x" }}\n- name: x'),
    ("mlflow.trackingUri", "http://mlflow:5000/a?b=c #d"),
    ("jobs.features.args", None),
    ("jobs.timeZone", "Europe/Berlin"),
    ("service.nodeSelector", None),
    ("service.tolerations", None),
    ("service.topologyKeys", None),
    ("service.settings", None),
    ("jobs.settings", None),
    ("imagePullSecrets", None),
    *(
        ("jobs.features.schedule", schedule)
        for schedule in (
            *("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every 1h30m"),
            *("*/5 0-6,22 ? JAN-MAR mon", "0  4 * *\t0"),
        )
    ),
]


@needs_helm
@pytest.mark.parametrize(("key", "value"), LEGAL, ids=[f"{key}={value}" for key, value in LEGAL])
def test_whatever_kubernetes_takes_the_chart_takes(key: str, value: object) -> None:
    rendered = render(with_values("minimal", key, value))

    for manifest in rendered:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@needs_helm
def test_what_is_given_arrives_as_it_is_given() -> None:
    values = with_values("minimal", "image.tag", 20260101)
    values["service"]["resources"] = {"limits": {"cpu": 2, "memory": None, "nvidia.com/gpu": 1}}
    values["service"]["settings"] = {"SERVICE_MODEL_TAG": 'a "b": {{ .c }} #d\ne'}
    (deployment,) = of_kind(render(values, release="1234"), "Deployment")

    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "churn-service:20260101" == container["image"] == environment(container)["SERVICE_IMAGE"]
    assert {"cpu": "2", "nvidia.com/gpu": "1"} == container["resources"]["limits"]
    assert 'a "b": {{ .c }} #d\ne' == environment(container)["SERVICE_MODEL_TAG"]
    assert "1234" == deployment["metadata"]["labels"]["app.kubernetes.io/instance"]


def _leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{path}{name}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")


@needs_helm
@pytest.mark.parametrize("key", list(_leaves(yaml.safe_load((CHART / "values.yaml").read_text()))))
def test_a_default_can_be_taken_away_or_is_missed_by_name(key: str) -> None:
    try:
        rendered, refused = render(with_values("everything", key, None)), ""
    except Refused as error:
        rendered, refused = [], str(error)

    assert not refused or key.split(".")[-1] in refused
    assert "nil" not in refused.split(), "a template stumbles instead of saying which value it needs"
    for manifest in rendered:
        if manifest["kind"] not in OPERATORS_KINDS:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@needs_helm
@pytest.mark.parametrize("job", ["auditSkew", "drift", "liveQuality", "retrain"])
def test_what_reads_models_says_that_it_needs_mlflow(job: str) -> None:
    values = {**values_of("production"), "mlflow": {}, "jobs": {job: {"enabled": True}}}

    with pytest.raises(Refused, match=rf"jobs\.{job}\.enabled needs mlflow\.trackingUri"):
        render(values)


@needs_helm
def test_figures_of_jobs_need_jobs() -> None:
    without = with_values("production", "jobs.enabled", False)

    with pytest.raises(Refused, match=r"monitoring\.jobMetrics\.enabled"):
        render(without)


@needs_helm
def test_with_a_copy_of_the_registry_and_no_jobs_there_is_no_claim() -> None:
    values = {
        **values_of("minimal"),
        "registry": {"source": "configMap", "configMap": "features"},
        "jobs": {"enabled": False},
    }

    assert "PersistentVolumeClaim" not in {m["kind"] for m in render(values)}
    assert "persistentVolumeClaim" not in json.dumps(render(values))


@needs_helm
def test_a_claim_that_is_there_is_used_and_none_is_made() -> None:
    rendered = render(with_values("minimal", "artefacts.existingClaim", "shared"))

    assert "PersistentVolumeClaim" not in {m["kind"] for m in rendered}
    assert '"claimName": "shared"' in json.dumps(rendered)


@needs_helm
def test_the_first_install_in_the_guide_names_what_there_is(tmp_path: Path) -> None:
    guide = (PROJECT_ROOT / "docs/operations/kubernetes.md").read_text()
    section = guide[: guide.index("**The registry.**")]
    values = with_values("minimal", "redis.inChart.enabled", True)
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    rendered = render(values, release="churn-service")
    redis, keys = defaults["redis"], defaults["service"]["apiKeys"]

    made = set(make(tmp_path, "churn"))
    assert {f for f in re.findall(r"var/secrets/([\w.]+)", section) if "*" not in f} - {"redis_"} <= made
    for key in (redis["serviceUrlKey"], redis["jobsUrlKey"], redis["inChart"]["aclKey"], keys["key"]):
        assert re.search(rf"--from-(file|literal)={re.escape(key)}=", section), key
    for secret in (values["redis"]["existingSecret"], values["service"]["apiKeys"]["existingSecret"]):
        assert f"create secret generic {secret} " in section
    named = {(m["kind"], m["metadata"]["name"]) for m in rendered}
    assert {("CronJob", name) for name in re.findall(r"--from=cronjob/([\w-]+)", section)} <= named
    assert {("Service", name) for name in re.findall(r"@redis:/@([\w-]+):/", section)} <= named
    notes = files_of(values, "churn-service")["model-service/templates/NOTES.txt"]
    first = re.findall(r"--from=cronjob/([\w-]+)", notes)
    assert (
        first
        == re.findall(r"--from=cronjob/([\w-]+)", section)
        == ["churn-service-features", "churn-service-materialize"]
    )
    assert "@redis:" in (tmp_path / "redis_serving_url").read_text()


def test_the_schema_knows_exactly_the_settings_that_there_are() -> None:
    document = json.loads(SCHEMA.read_text())["properties"]

    for key, expected in expected_settings().items():
        assert document[key]["properties"]["settings"]["properties"] == expected, (
            "`make generated` brings it up to date"
        )
    assert NOT_TAKEN <= {f"SERVICE_{name}".upper() for name in ServiceSettings.model_fields}


def _keys(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, described in schema.get("properties", {}).items():
        yield f"{path}/{name}", described
        yield from _keys(described, f"{path}/{name}")
    if isinstance(schema.get("items"), dict):
        yield from _keys(schema["items"], f"{path}[]")


def test_every_key_is_described_and_no_other_is_taken() -> None:
    document = json.loads(SCHEMA.read_text())
    shared = document["$defs"].items()
    described = [
        *_keys(document),
        *((f"#{n}", d) for n, d in shared),
        *(k for n, d in shared for k in _keys(d, f"#{n}")),
    ]

    assert [path for path, schema in described if not schema.get("description")] == []
    objects = [(path, s) for path, s in described if "properties" in s]
    assert [path for path, schema in objects if schema.get("additionalProperties") is not False] == []


def test_every_key_has_a_default_but_the_settings() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    def undefined(schema: dict[str, Any], values: Any, path: str) -> Iterator[str]:
        for name, described in schema.get("properties", {}).items():
            if f"{path}.{name}" in (".global", ".service.settings", ".jobs.settings"):
                continue
            if name not in values:
                yield f"{path}.{name}"
            else:
                yield from undefined(described, values[name], f"{path}.{name}")

    assert list(undefined(json.loads(SCHEMA.read_text()), defaults, "")) == []
