"""The service refuses to start where it could only answer wrongly, and says why; a built Bento serves the same."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import yaml

from artefacts.addresses import Artefacts
from jobs.feature_store import feast_variables
from tests.loop import SOURCE, Loop, call, free_port


def serve(loop: Loop, target: str = ".", **environment: str) -> subprocess.CompletedProcess[str]:
    """`bentoml serve` that is expected to end by itself."""
    return subprocess.run(
        [f"{loop.environment['VENV']}/bin/bentoml", "serve", target, "--port", str(free_port())],
        cwd=loop.root,
        env={**loop.environment, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert 1 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("not starting: ")]
    return line


def test_a_registry_that_breaks_the_contract_is_named(loop: Loop, tmp_path: Path) -> None:
    """One difference here; tests/integration/service/features/test_open_feast.py has the others."""
    file, old, new = "feature_views.py", "ttl=timedelta(days=2)", "ttl=timedelta(days=3)"
    changed = tmp_path / "feature_repo"
    shutil.copytree(loop.root / "feature_repo", changed)
    text = (changed / file).read_text()
    assert old in text
    (changed / file).write_text(text.replace(old, new))
    registry = str(tmp_path / "registry.db")
    artefacts = Artefacts.of({"FEAST_REGISTRY": registry}, root=tmp_path)
    subprocess.run(
        [f"{loop.environment['VENV']}/bin/feast", "apply"],
        cwd=changed,
        env={**loop.environment, **feast_variables(artefacts, tmp_path / "feature_store.yaml")},
        capture_output=True,
        timeout=120,
        check=True,
    )

    message = refused(serve(loop, FEAST_REGISTRY=registry))

    assert "contract and feature registry disagree" in message
    assert "'customer_orders_windowed': ttl_seconds is 259200.0, the contract says 172800.0" in message


def test_a_registry_that_is_not_there_is_named(loop: Loop, tmp_path: Path) -> None:
    message = refused(serve(loop, FEAST_REGISTRY=str(tmp_path / "none.db")))

    assert "none.db" in message


def test_an_unknown_model_and_latest_are_refused(loop: Loop) -> None:
    assert "customer_churn:v0-nothing is not in the BentoML" in refused(
        serve(loop, SERVICE_MODEL_TAG="customer_churn:v0-nothing")
    )
    assert "no exact model tag" in refused(serve(loop, SERVICE_MODEL_TAG="customer_churn:latest"))


def test_an_altered_model_file_is_refused_and_mended_by_importing_again(loop: Loop) -> None:
    tag = (loop.root / "var" / "model_tag").read_text().strip().replace(":", "/")
    model = Path(loop.environment["BENTOML_HOME"]) / "models" / tag / "model.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1])

    message = refused(serve(loop))
    version = re.search(r"/v(\d+)-", tag)
    assert version
    done = loop.make("import-model", f"MODEL={version.group(1)}")

    assert "model.onnx was altered since it was imported" in message
    assert 0 == done.returncode, done.stderr
    assert whole == model.read_bytes()


def test_a_model_imported_before_pipelines_were_stored_is_completed_by_importing_again(loop: Loop) -> None:
    tag = (loop.root / "var" / "model_tag").read_text().strip().replace(":", "/")
    folder = Path(loop.environment["BENTOML_HOME"]) / "models" / tag
    pipeline, description = folder / "model.skops", folder / "model.yaml"
    whole = pipeline.read_bytes()
    pipeline.unlink()
    stored = yaml.safe_load(description.read_text())
    del stored["metadata"]["pipeline_sha256"]
    description.write_text(yaml.safe_dump(stored))
    version = re.search(r"/v(\d+)-", tag)
    assert version

    done = loop.make("import-model", f"MODEL={version.group(1)}")

    assert 0 == done.returncode, done.stderr
    assert whole == pipeline.read_bytes()
    metadata = yaml.safe_load(description.read_text())["metadata"]
    assert hashlib.sha256(whole).hexdigest() == metadata["pipeline_sha256"]


def test_a_built_bento_holds_the_rooms_it_needs_and_serves_by_itself(loop: Loop) -> None:
    bentos = Path(loop.environment["BENTOML_HOME"]) / "bentos" / "churn"
    before = set(bentos.glob("*/"))  # other tests build some, too
    done = loop.make("build")
    assert 0 == done.returncode, done.stderr
    (bento,) = [path for path in set(bentos.glob("*/")) - before if path.is_dir()]
    packed = {str(p.relative_to(bento / "src")) for p in (bento / "src").rglob("*") if p.is_file()}
    rooms = ("service", "artefacts", "contract", "scoring")
    code = {str(p.relative_to(loop.root)) for room in rooms for p in (loop.root / room).rglob("*.py")}
    console = (loop.root / "service" / "console").glob("*.*[sl]")  # .js, .css, .html
    code |= {str(p.relative_to(loop.root)) for p in console}
    beside = {"feature_repo/feature_store.yaml", "requirements/service.txt", "var/model_tag", "bentofile.yaml"}
    assert code | beside == packed
    lock = bento / "src" / "requirements" / "service.txt"
    assert (SOURCE / "requirements" / "service.txt").read_bytes() == lock.read_bytes()
    made_by_bentoml = {"README.md", "bento.yaml", *(f"{folder}/" for folder in ("apis", "env", "src"))}
    assert made_by_bentoml == {p.name + "/" * p.is_dir() for p in bento.iterdir()}

    manifest = yaml.safe_load((bento / "bento.yaml").read_text())
    assert [(loop.root / "var" / "model_tag").read_text().strip()] == [
        m["tag"] for m in manifest["services"][0]["models"]
    ]

    made = {
        "FEAST_REGISTRY": str(loop.root / "var" / "feast" / "registry.db"),
        "REDIS_URL": (loop.root / "var" / "redis" / "url").read_text().strip(),
    }
    port = free_port()
    process = subprocess.Popen(
        [f"{loop.environment['VENV']}/bin/bentoml", "serve", f"churn:{bento.name}", "--port", str(port)],
        cwd=bento.parent,
        env={**loop.environment, **made},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while not _ready(url):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert "ok" == call(url, "POST", "/predict", {"customer_id": "00042"}).body["status"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _ready(url: str) -> bool:
    try:
        return call(url, "GET", "/readyz").status == 200
    except OSError:
        return False
