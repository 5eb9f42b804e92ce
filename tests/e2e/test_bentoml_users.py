"""What a BentoML user does with the service, and sees: the rows of docs/bentoml.md, over `make run`'s model."""

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import bentoml
import pytest
from bentoml.exceptions import BentoMLException, InvalidArgument, NotFound

from service.api.authentication import new_key
from tests.e2e.test_api_keys import wait_until
from tests.loop import Loop, call, free_port
from tests.servers.serving import Service, serving, started

KEY, ENTRY = new_key("bentoml-user")
CUSTOMER = "00042"
CALLS = {"predict", "predict_batch", "explain", "features", "invocations"}
OTHER = """\
import os

import bentoml

from service.service import ModelService


@bentoml.service(name="other", http={"host": "127.0.0.1"})
class Other:
    model = bentoml.depends(ModelService, url=os.environ.get("MODEL_URL"))

    @bentoml.api
    def ask(self, customer: str) -> dict:
        try:
            return self.model.predict(customer_id=customer)
        except bentoml.exceptions.BentoMLException as error:
            return {"kind": type(error).__name__, "status": int(error.error_code), "message": str(error)}

    @bentoml.api
    async def ask_async(self, customer: str) -> dict:
        return await self.model.to_async.predict(customer_id=customer)
"""


@pytest.fixture(scope="module")
def keyed(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for keys."""
    with serving(loop, tmp_path_factory.mktemp("keyed"), SERVICE_API_KEYS=ENTRY) as service:
        yield service


@contextmanager
def sync_client(url: str, token: str | None = None) -> Iterator[Any]:
    with bentoml.SyncHTTPClient(url, token=token) as client:
        yield client
    client._temp_dir.cleanup()  # BentoML leaves it to the interpreter, which warns


@asynccontextmanager
async def async_client(url: str, token: str | None = None) -> AsyncIterator[Any]:
    async with bentoml.AsyncHTTPClient(url, token=token) as client:
        yield client
    client._temp_dir.cleanup()


@pytest.fixture(scope="module")
def sync(keyed: Service) -> Iterator[Any]:
    """BentoML's client with the key."""
    with sync_client(keyed.url, KEY) as client:
        yield client


@pytest.fixture
def other(loop: Loop) -> Iterator[str]:
    """The module of a user's own service, which depends on ours."""
    module = loop.root / "other_service.py"
    module.write_text(OTHER)
    yield "other_service:Other"
    module.unlink()


def predicted(service: Service) -> dict[str, Any]:
    return stable(service.call("POST", "/predict", {"customer_id": CUSTOMER}, {"Authorization": f"Bearer {KEY}"}).body)


def stable(answer: Any) -> dict[str, Any]:
    """An answer's members that are the same at each request: ages grow, and scores with them a little."""
    assert isinstance(answer, dict), answer
    kept: dict[str, Any] = {name: answer[name] for name in ("customer_id", "churn", "status", "model")}
    return {**kept, "churn_probability": round(answer["churn_probability"], 4)}


def script(loop: Loop, text: str, **environment: str) -> Any:
    """Run a user's script in the project's folder, and read the JSON of its last line."""
    python = f"{loop.environment['VENV']}/bin/python"
    done = subprocess.run(
        [python, "-c", text],
        cwd=loop.root,
        env={**loop.environment, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_schema_names_the_methods_with_their_types(keyed: Service) -> None:
    routes = {route["name"]: route for route in keyed.call("GET", "/schema.json").body["routes"]}

    assert set(routes) == CALLS
    assert "string" == routes["predict"]["input"]["properties"]["customer_id"]["type"]
    assert "number" == routes["predict"]["output"]["properties"]["churn_probability"]["type"]


def test_the_sync_client_has_a_method_for_each_call(keyed: Service, sync: Any) -> None:
    inputs = [given["name"] for given in keyed.call("GET", "/model", None, AUTHORIZED).body["contract"]["inputs"]]
    record = dict.fromkeys(inputs, 1.0)

    assert predicted(keyed) == stable(sync.predict(customer_id=CUSTOMER)) == stable(sync.predict(CUSTOMER))
    assert [CUSTOMER] == [row["customer_id"] for row in sync.predict_batch(customer_ids=[CUSTOMER])["predictions"]]
    assert len(inputs) == len(sync.explain(customer_id=CUSTOMER)["contributions"])
    assert [CUSTOMER] == [row["customer_id"] for row in sync.features(customer_ids=[CUSTOMER])["rows"]]
    by_records = sync.invocations(dataframe_records=[record])["predictions"]
    by_columns = sync.invocations(inputs={name: [1.0] for name in inputs})["predictions"]
    split = {"columns": inputs, "data": [[1.0] * len(inputs)]}
    assert by_records == by_columns == sync.invocations(dataframe_split=split)["predictions"]
    assert 1 == len(by_records)


AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


async def test_the_async_client_shows_its_token(keyed: Service) -> None:
    async with async_client(keyed.url, KEY) as client:
        assert predicted(keyed) == stable(await client.predict(customer_id=CUSTOMER))
    async with async_client(keyed.url) as client:
        with pytest.raises(BentoMLException, match="an API key is needed") as raised:
            await client.predict(customer_id=CUSTOMER)
    assert 401 == raised.value.error_code


def test_errors_are_the_clients_exceptions_with_our_message(sync: Any) -> None:
    with pytest.raises(NotFound, match="no features are stored for this customer") as unknown:
        sync.predict(customer_id="nobody")
    with pytest.raises(InvalidArgument, match="is not an input of this model") as wrong:
        sync.predict(customer_id=CUSTOMER, features={"colour": 1})
    with pytest.raises(TypeError, match="customer"):
        sync.predict(customer=CUSTOMER)

    assert (404, 400) == (unknown.value.error_code, wrong.value.error_code)
    assert "unknown_customer" == json.loads(unknown.value.message)["error"]["code"]


IN_PROCESS = """
import asyncio, json
from service.service import ModelService
from bentoml.exceptions import NotFound

service = ModelService()
answers = [service.predict(customer_id="00042"), service.to_sync.predict("00042")]
answers.append(asyncio.run(service.to_async.predict(customer_id="00042")))
try:
    service.predict(customer_id="nobody")
except NotFound as error:
    print(json.dumps([answers, str(error)]))
"""


def test_a_script_predicts_without_a_server_and_without_a_key(loop: Loop, keyed: Service) -> None:
    answers, error = script(loop, IN_PROCESS)

    assert [predicted(keyed)] * 3 == [stable(answer) for answer in answers]
    assert "no features are stored for this customer" == error


def test_what_a_script_predicts_is_logged_when_it_ends(loop: Loop, tmp_path: Path) -> None:
    script(loop, IN_PROCESS, SERVICE_INFERENCE_LOG="true", INFERENCE_LOG_DIR=str(tmp_path / "log"))

    written = script(
        loop,
        "import sys, json, pyarrow.dataset as ds; "
        f"print(json.dumps(ds.dataset({str(tmp_path / 'log')!r}, exclude_invalid_files=True).count_rows()))",
    )
    assert 4 == written


TEST_CLIENT = """
import json
from starlette.testclient import TestClient
from {module} import {name} as tested

with TestClient(tested.to_asgi()) as client:
    headers = {{"Authorization": "Bearer {key}"}}
    right = client.post("/{path}", json={body}, headers=headers)
    without = client.post("/{path}", json={body})
    print(json.dumps([right.json(), without.status_code, without.json()]))
"""


def test_a_test_client_asks_the_application_and_the_key_is_asked_for(loop: Loop, keyed: Service) -> None:
    text = TEST_CLIENT.format(
        module="service.service", name="ModelService", key=KEY, path="predict", body={"customer_id": CUSTOMER}
    )
    answer, status, refused = script(loop, text, SERVICE_API_KEYS=ENTRY)

    assert (predicted(keyed), 401) == (stable(answer), status)
    assert "unauthenticated" == refused["error"]["code"]


def test_another_service_has_ours_in_its_process(loop: Loop, keyed: Service, other: str) -> None:
    module, name = other.split(":")
    found = {}
    for path, customer in (("ask", CUSTOMER), ("ask_async", CUSTOMER), ("ask", "nobody")):
        text = TEST_CLIENT.format(module=module, name=name, key="", path=path, body={"customer": customer})
        found[path, customer], _, _ = script(loop, text)

    assert predicted(keyed) == stable(found["ask", CUSTOMER]) == stable(found["ask_async", CUSTOMER])
    missing = {"kind": "NotFound", "status": 404, "message": "no features are stored for this customer"}
    assert missing == found["ask", "nobody"]


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "by url"])
def test_another_service_asks_ours_with_its_key(
    loop: Loop, keyed: Service, other: str, tmp_path: Path, beside: bool
) -> None:
    where = {"SERVICE_API_KEYS": ENTRY} if beside else {"MODEL_URL": keyed.url}
    with started(loop, tmp_path, other, "--host", "127.0.0.1", BENTO_CLOUD_API_KEY=KEY, **where) as service:
        wait_until(lambda: asked(service, CUSTOMER).get("status") == "ok", 90)
        answer, missing = asked(service, CUSTOMER), asked(service, "nobody")
        awaited = service.call("POST", "/ask_async", {"customer": CUSTOMER}).body

    assert predicted(keyed) == stable(answer) == stable(awaited)
    assert ("NotFound", 404) == (missing["kind"], missing["status"])
    assert "no features are stored for this customer" == json.loads(missing["message"])["error"]["message"]


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "by url"])
def test_another_service_without_the_key_is_refused(
    loop: Loop, keyed: Service, other: str, tmp_path: Path, beside: bool
) -> None:
    where = {"SERVICE_API_KEYS": ENTRY} if beside else {"MODEL_URL": keyed.url}
    with started(loop, tmp_path, other, "--host", "127.0.0.1", **where) as service:
        wait_until(lambda: asked(service, CUSTOMER).get("status") == 401, 90)
        refused = asked(service, CUSTOMER)

    assert "an API key is needed" in refused["message"]


def asked(service: Service, customer: str) -> dict[str, Any]:
    """What the other service says; its port is open before ours is."""
    assert service.process.poll() is None, service.log.read_text()
    try:
        body = service.call("POST", "/ask", {"customer": customer}).body
    except OSError:
        return {}
    return body if isinstance(body, dict) else {}


def has_started(service: Service, times: int) -> bool:
    return service.log.read_text().count("churn initialized") == times


def test_bentoml_serve_reloads_what_was_changed(loop: Loop, tmp_path: Path) -> None:
    """In a copy, because BentoML's own watcher does not start in a folder with a quote in its name."""
    plain = replace(loop, root=tmp_path / "checkout")
    shutil.copytree(loop.root, plain.root, symlinks=True, ignore=shutil.ignore_patterns("*.sock", "__pycache__"))
    addresses = {
        "REDIS_URL": (loop.root / "var" / "redis" / "url").read_text().strip(),
        "FEAST_REGISTRY": str(loop.root / "var" / "feast" / "registry.db"),
        "OFFLINE_STORE_DIR": str(loop.root / "var" / "offline_store"),
    }
    release = plain.root / "service" / "release.py"
    with serving(plain, tmp_path, "--reload", **addresses) as service:
        for starts in (2, 3):
            release.write_text(release.read_text() + "\n")
            wait_until(partial(has_started, service, starts), 60)
            wait_until(lambda: service.health() == (200, 200), 60)

            assert 200 == service.call("POST", "/predict", {"customer_id": CUSTOMER}).status
        service.stop()


def test_the_port_of_bentoml_and_a_prefix_of_all_paths(loop: Loop, tmp_path: Path) -> None:
    port = free_port()
    environment = {"BENTOML_PORT": str(port), "SERVICE_PATH_PREFIX": "/v1/churn"}
    with serving(loop, tmp_path, **environment) as service:
        with sync_client(f"http://127.0.0.1:{port}") as client:
            answer = client.predict(customer_id=CUSTOMER)
        document = service.call("GET", "/v1/churn/docs.json").body
        outside = service.call("POST", "/predict", {"customer_id": CUSTOMER})

    assert (CUSTOMER, "/v1/churn") == (answer["customer_id"], document["servers"][0]["url"])
    assert (404, "not_found") == (outside.status, outside.body["error"]["code"])


CONTAINERFILE = """
import json, bentoml, bentoml.container

bento = bentoml.get("churn:latest")
bentoml.container.get_containerfile(str(bento.tag), output_path="Containerfile.bentoml")
print(json.dumps([open("Containerfile.bentoml").read(), bento.path_of("/")]))
"""


def test_bentoml_containerize_finds_all_that_it_builds_from(loop: Loop) -> None:
    done = loop.make("build")
    assert 0 == done.returncode, done.stderr

    text, context = script(loop, CONTAINERFILE)

    copied = re.findall(r"^COPY --chown=\S+ (\S+) ", text, flags=re.MULTILINE)
    assert ["./env/docker", "./env/python", "."] == copied
    assert all(Path(context, folder).is_dir() for folder in copied)
    assert "env/python/requirements.txt" in text
    assert Path(context, "env/python/requirements.txt").is_file()
    assert Path(context, "env/docker/entrypoint.sh").is_file()
    assert [line for line in text.splitlines() if line.startswith("USER ")] == ["USER bentoml"]


def test_a_browser_of_an_allowed_origin_may_call(loop: Loop, tmp_path: Path) -> None:
    shop = "https://shop.example.com"
    preflight = {"Origin": shop, "Access-Control-Request-Method": "POST"}
    with serving(loop, tmp_path, SERVICE_API_KEYS=ENTRY, SERVICE_CORS_ORIGINS=shop) as service:
        allowed = call(service.url, "OPTIONS", "/predict", None, preflight)
        refused = service.call("POST", "/predict", {"customer_id": CUSTOMER}, {"Origin": shop})

    assert (200, shop) == (allowed.status, allowed.headers["access-control-allow-origin"])
    assert (401, shop) == (refused.status, refused.headers["access-control-allow-origin"])
