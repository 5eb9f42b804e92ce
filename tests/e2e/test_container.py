"""The image of the loop's model, built by `make containerize` and run without rights and with nothing to write to."""

import json
import re
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.loop import SOURCE, Answer, Loop, call, free_port, make
from tests.servers.containers import Podman, import_stand_in_base, needs_podman, podman_in
from tests.servers.serving import wait_until

pytestmark = [needs_podman, pytest.mark.timeout(1200)]  # base and image are made in the first test's time

LARGEST_BYTES = 700_000_000
START_CPU_SECONDS = 10.0
READY_SECONDS = 120.0
RESTRICTED = (
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp:rw,size=64m"),
    *("--cap-drop=ALL", "--security-opt=no-new-privileges"),
)


@dataclass(frozen=True)
class Image:
    """An image, its Bento and where they came from.

    bento: the tag of the Bento, which is the image's, too.
    commit: that of the source, empty where there is no git.
    environment: in which `make` finds Bento and image.
    """

    podman: Podman
    bento: str
    commit: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Container:
    podman: Podman
    name: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: object = None) -> Answer:
        return call(self.url, method, path, body)

    def state(self) -> Any:
        return json.loads(self.podman.said("inspect", "--format={{json .State}}", self.name))

    def says(self, *command: str) -> str:
        """What a command prints inside."""
        return self.podman.said("exec", self.name, *command)

    def log(self) -> str:
        done = self.podman("logs", self.name)
        return done.stdout + done.stderr

    def is_ready(self) -> bool:
        assert self.state()["Running"], self.log()
        try:
            return self.call("GET", "/readyz").status == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    with podman_in(tmp_path_factory.mktemp("podman") / "storage") as podman:
        yield podman


@pytest.fixture(scope="module")
def image(loop: Loop, podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Image:
    import_stand_in_base(podman)
    home = tmp_path_factory.mktemp("image") / "bentoml"
    home.mkdir()
    (home / "models").symlink_to(Path(loop.environment["BENTOML_HOME"]) / "models")
    environment = {**podman.environment, **loop.environment, "BENTOML_HOME": str(home)}
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=SOURCE, capture_output=True, text=True, check=False)
    repository = {"GIT_DIR": str(SOURCE / ".git"), "GIT_WORK_TREE": str(SOURCE)}
    built = make(loop.root, {**environment, **repository}, "build")
    assert built.returncode == 0, built.stderr
    done = make(SOURCE, environment, "containerize", "BUILDER=podman", "OPTIONS=--layers=false", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(r"^(churn:\w+), by podman$", done.stdout, re.MULTILINE)
    assert said, done.stdout
    return Image(podman, said.group(1), git.stdout.strip(), environment)


@contextmanager
def started(
    image: Image, loop: Loop, registry: Path, access: Sequence[str] = ("--env=SERVICE_ALLOW_ANONYMOUS=true",)
) -> Iterator[Container]:
    container = Container(image.podman, f"churn-{free_port()}", free_port())
    image.podman.said(
        *("run", "--detach", f"--name={container.name}", *RESTRICTED, f"--volume={registry}:/registry:ro"),
        f"--env=REDIS_URL={(loop.root / 'var' / 'redis' / 'url').read_text().strip()}",
        f"--env=BENTOML_PORT={container.port}",
        *(*access, image.bento),
    )
    try:
        yield container
    finally:
        image.podman("rm", "--force", "--time=0", container.name)


@pytest.fixture(scope="module")
def container(image: Image, loop: Loop) -> Iterator[Container]:
    with started(image, loop, loop.root / "var" / "feast") as container:
        wait_until(container.is_ready, READY_SECONDS)
        yield container


def test_a_start_costs_less_than_ten_seconds_of_one_core(container: Container) -> None:
    """Of a core, not of a clock that other tests slow down: a machine with nothing else to do is ready within that."""
    first = psutil.Process(container.state()["Pid"])
    times = [process.cpu_times() for process in (first, *first.children(recursive=True))]

    assert sum(each.user + each.system for each in times) < START_CPU_SECONDS


def test_it_predicts_and_explains_what_the_service_outside_does(container: Container, loop: Loop) -> None:
    for customer in ("00042", "00001", "12345"):
        inside, outside = (each.call("POST", "/predict", {"customer_id": customer}) for each in (container, loop))
        assert inside.body["churn_probability"] == pytest.approx(outside.body["churn_probability"], abs=1e-4)
        assert (inside.status, inside.body["status"]) == (outside.status, outside.body["status"])

    inside, outside = (each.call("POST", "/explain", {"customer_id": "00042"}) for each in (container, loop))
    told, expected = ({c["feature"]: c["contribution"] for c in e.body["contributions"]} for e in (inside, outside))
    assert told == pytest.approx(expected, abs=1e-3)


def test_it_says_from_which_commit_bento_and_image_it_came(container: Container, image: Image) -> None:
    version = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]["version"]
    body = container.call("GET", "/model").body
    labels = json.loads(image.podman.said("image", "inspect", "--format={{json .Labels}}", image.bento))

    commit = body["release"].pop("commit")
    assert image.commit == (commit or "").removesuffix("-dirty")
    assert {"version": version, "bento": image.bento, "image": image.bento} == body["release"]
    assert (version, commit or "") == tuple(
        labels[f"org.opencontainers.image.{name}"] for name in ("version", "revision")
    )
    assert (image.bento, body["tag"]) == (labels["model-service.bento"], labels["model-service.model"])


def test_it_has_no_rights_and_writes_to_its_temp_folder_alone(container: Container) -> None:
    status = container.podman.said("exec", container.name, "cat", "/proc/1/status")

    assert {"0" * 16} == set(re.findall(r"^Cap\w+:\s*(\w+)", status, re.MULTILINE))
    assert {"10001"} == set("".join(re.findall(r"^[UG]id:(.*)", status, re.MULTILINE)).split())
    assert "NoNewPrivs:\t1" in status
    for place in ("/bento", "/opt/venv", "/registry", "/var/tmp", "/run"):  # noqa: S108
        assert container.podman("exec", container.name, "touch", f"{place}/x").returncode
    changed = [line.split()[1] for line in container.podman.said("diff", container.name).splitlines()]
    assert {"/etc", "/registry"} >= set(changed)  # where podman mounts


def test_on_sigterm_it_answers_what_it_has_taken_and_ends_well(image: Image, loop: Loop) -> None:
    body = b'{"customer_id": "00042"}'
    with started(image, loop, loop.root / "var" / "feast") as container:
        wait_until(container.is_ready, READY_SECONDS)
        with socket.create_connection(("127.0.0.1", container.port), timeout=30) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: churn\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            connection.sendall(head + body[:-1])
            time.sleep(0.3)  # the head has been read
            container.podman.said("kill", "--signal=TERM", container.name)
            time.sleep(0.3)  # and the signal taken
            connection.sendall(body[-1:])
            answer = connection.makefile("rb").read().decode()
        wait_until(lambda: not container.state()["Running"], 30)

        assert answer.startswith("HTTP/1.1 200 "), answer + container.log()
        assert 0 == container.state()["ExitCode"]


def test_with_keys_it_starts_as_documented_and_says_why_it_does_not(image: Image, loop: Loop) -> None:
    (documented,) = re.findall(
        r"^(make api-key .*)\n(chmod .*)\n(docker run (?:.*\\\n)*.*)$",
        (SOURCE / "docs" / "operations" / "image.md").read_text(),
        re.MULTILINE,
    )
    *makes_keys, run = documented
    mounted, named = re.search(r'-v "\$PWD/(keys:\S+)"', run), re.search(r"-e (SERVICE_API_KEYS_FILE=\S+)", run)
    assert mounted
    assert named
    access = (f"--volume={loop.root}/{mounted[1]}", f"--env={named[1]}")

    def did(command: str) -> str:
        return subprocess.run(
            ["sh", "-c", command], cwd=loop.root, env=loop.environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    key = did(makes_keys[0])
    with started(image, loop, loop.root / "var" / "feast", access) as container:
        wait_until(lambda: not container.state()["Running"], READY_SECONDS)
        assert "it has mode 0600 and belongs to user 0 of group 0, this process is user 10001" in container.log()
        assert "chmod a+r" in container.log()
    did(makes_keys[1])
    with started(image, loop, loop.root / "var" / "feast", access) as container:
        wait_until(container.is_ready, READY_SECONDS)
        asked = call(container.url, "GET", "/model", headers={"Authorization": f"Bearer {key}"})
        assert (200, 401) == (asked.status, container.call("GET", "/model").status)


def test_it_does_not_start_over_a_registry_that_breaks_the_contract(image: Image, loop: Loop, tmp_path: Path) -> None:
    from feast.protos.feast.core.Registry_pb2 import Registry

    registry = Registry.FromString((loop.root / "var" / "feast" / "registry.db").read_bytes())
    (view,) = [v for v in registry.feature_views if v.spec.name == "customer_orders_windowed"]
    view.spec.ttl.seconds = 3600
    (tmp_path / "registry.db").write_bytes(registry.SerializeToString())
    tmp_path.chmod(0o755)

    with started(image, loop, tmp_path) as container:
        wait_until(lambda: not container.state()["Running"], READY_SECONDS)

        assert 1 == container.state()["ExitCode"]
        assert "ttl_seconds is 3600.0, the contract says 172800.0" in container.log()


def test_it_holds_no_compiler_no_installer_and_nothing_of_training(container: Container, image: Image) -> None:
    tools = "gcc cc g++ c++ ld make git pip pip3 uv curl wget"
    modules = (
        "pip setuptools mlflow skl2onnx onnx duckdb ibis matplotlib plotly pyspark shap numba llvmlite "
        "training jobs tests benchmarks"
    )
    find = (
        "import importlib.util, sys; sys.path.insert(0, '/bento/src');"
        f"print(*[m for m in '{modules}'.split() if importlib.util.find_spec(m)])"
    )

    assert "" == container.says("sh", "-c", f"for tool in {tools}; do command -v $tool; done; true")
    assert "" == container.says("python3", "-c", find)
    assert int(image.podman.said("image", "inspect", "--format={{.Size}}", image.bento)) < LARGEST_BYTES


def test_nothing_in_it_says_how_it_was_built_here(container: Container, image: Image) -> None:
    places = "/etc/pip.conf /etc/xdg/pip /root/.config /root/.cache /run/secrets /usr/local/share/ca-certificates/*"

    assert "" == container.says("sh", "-c", f"ls -d {places} 2> /dev/null || true")
    assert "" == container.says("sh", "-c", "grep -rIl -e --index-url -e extra-index /bento || true")
    environment = image.podman.said("image", "inspect", "--format={{json .Config.Env}}", image.bento)
    assert not re.search("index|cert|secret|proxy", environment, re.IGNORECASE), environment


def test_its_bill_of_materials_lists_every_locked_package(container: Container, image: Image, tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    done = make(SOURCE, image.environment, "sbom", f"OUT={out}", f"BENTO={image.bento}", "BUILDER=podman")
    assert done.returncode == 0, done.stderr
    listed = {component["purl"].partition("?")[0] for component in json.loads(out.read_text())["components"]}
    lines = (SOURCE / "requirements" / "service.txt").read_text().splitlines()
    locked = [Requirement(line.removesuffix("\\")) for line in lines if re.match(r"[a-z0-9]", line)]
    python = {
        "python_full_version": container.says("python3", "-c", "import platform; print(platform.python_version())")
    }
    here = [r for r in locked if r.marker is None or r.marker.evaluate({**python, "python_version": "3.11"})]
    expected = {f"pkg:pypi/{canonicalize_name(r.name)}@{str(r.specifier).removeprefix('==')}" for r in here}

    assert len(expected) > 100
    assert expected == {purl for purl in listed if purl.startswith("pkg:pypi/")}
    debian = {purl.partition("@")[0] for purl in listed - expected}
    assert {"pkg:deb/debian/libc6", "pkg:deb/debian/python3.11"} <= debian


def test_without_a_builder_or_a_bento_it_is_said_in_one_line(tmp_path: Path) -> None:
    for options, said in ((["--builder=kaniko"], "not one of docker, podman, buildah"), ([], "run `make build`")):
        done = subprocess.run(
            [sys.executable, "-m", "deploy.image.containerize", "--builder=podman", *options],
            cwd=SOURCE,
            env={"BENTOML_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "BENTOML_DO_NOT_TRACK": "True"},
            capture_output=True,
            text=True,
            check=False,
        )
        *_, line = done.stderr.splitlines()
        assert 1 == done.returncode
        assert line.startswith("error: ")
        assert said in line
