"""Models that change under load: nothing fails, and every answer is by the model that it names."""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.load import Exchange, Load
from tests.loop import SOURCE, Loop
from tests.servers.serving import Service, serving, wait_until

CUSTOMERS = [f"{number:05d}" for number in range(42, 23_500, 469)]
PER_SECOND = 625  # of which at least 500 must have been asked
_APART = 0.02
"""By which the models' answers for a customer must differ to be told apart; in seconds one model's differ by less."""


@dataclass(frozen=True)
class Models:
    """A service that follows the store, and the tags of two models in it."""

    service: Service
    folder: Path
    first: str
    second: str

    def pin(self, tag: str) -> None:
        """As a promotion does: whole or not at all."""
        self._write(self.folder / "model_tag", tag + "\n")

    def challenge(self, **challenge: object) -> None:
        self._write(self.folder / "challenger.json", json.dumps(challenge))

    def pinned(self, tag: str) -> "Models":
        self.pin(tag)
        wait_until(lambda: self.live() == tag)
        return self

    def live(self) -> str:
        return str(self.service.call("GET", "/model").body["tag"])

    def beside(self) -> dict[str, object] | None:
        found: dict[str, object] | None = self.service.call("GET", "/model").body["challenger"]
        return found

    def alone(self) -> None:
        (self.folder / "challenger.json").unlink(missing_ok=True)
        wait_until(lambda: self.beside() is None)

    def answers(self) -> dict[str, float]:
        """Customer → what the live model says."""
        rows = self.service.call("POST", "/predict_batch", {"customer_ids": CUSTOMERS}).body["predictions"]
        return {row["customer_id"]: row["churn_probability"] for row in rows}

    @staticmethod
    def _write(file: Path, text: str) -> None:
        partial = file.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(file)


@pytest.fixture(scope="module")
def models(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    folder = tmp_path_factory.mktemp("live_models")
    first = (loop.root / "var" / "model_tag").read_text().strip()
    (folder / "model_tag").write_text(first + "\n")
    own = {
        "MODEL_TAG_PATH": str(folder / "model_tag"),
        "CHALLENGER_PATH": str(folder / "challenger.json"),
        "SERVICE_FOLLOW_STORE": "true",
        "SERVICE_MODELS_CHECK_SECONDS": "0.1",
    }
    with serving(loop, folder, **own) as service:
        made = subprocess.run(
            [f"{loop.environment['VENV']}/bin/python", "-m", "tests.models.second_model", first, "900"],
            cwd=SOURCE,
            env={**loop.environment, "BENTOML_HOME": str(folder / "bentoml")},
            capture_output=True,
            text=True,
            check=True,
        )
        yield Models(service, folder, first, made.stdout.split()[-1])


@pytest.fixture(autouse=True)
def as_it_was(models: Models) -> None:
    models.alone()
    models.pinned(models.first)
    wait_until(lambda: models.service.metric("model_service_model_switch_failing") == 0)


def rows_of(exchange: Exchange) -> list[tuple[str, float, str]]:
    """Customer, probability, and the version that the answer says it is by."""
    body = exchange.body
    version = body["model"]["version"]
    rows = body.get("predictions", [body])
    return [
        (r["customer_id"], r["churn_probability"], r.get("model", body["model"])["version"] or version) for r in rows
    ]


def test_a_swap_and_a_rollback_under_load_fail_no_request_and_no_answer_is_by_another_model(models: Models) -> None:
    truth = {"second": models.pinned(models.second).answers(), "first": models.pinned(models.first).answers()}
    versions = {"900": truth["second"], models.service.call("GET", "/model").body["model"]["version"]: truth["first"]}
    told_apart = [id_ for id_ in CUSTOMERS if abs(truth["first"][id_] - truth["second"][id_]) > _APART]
    assert len(told_apart) > len(CUSTOMERS) / 2

    with Load(models.service.port, told_apart, PER_SECOND) as load:
        time.sleep(1)
        for tag in (models.second, models.first, models.second, models.first):
            models.pinned(tag)
            time.sleep(1)

    assert [] == [(e.status, e.code, e.failure) for e in load.exchanges if e.status != 200]
    rate = len(load.exchanges) / (load.exchanges[-1].ended - load.exchanges[0].started)
    assert rate > 0.8 * PER_SECOND
    rows = [row for exchange in load.exchanges for row in rows_of(exchange)]
    assert set(versions) == {version for _, _, version in rows}
    wrong = [row for row in rows if abs(row[1] - versions[row[2]][row[0]]) > _APART / 10]
    assert [] == wrong
    assert 0 < models.service.metric("model_service_model_switches_total", outcome="done")


@pytest.mark.parametrize("pinned", ["customer_churn:v901-nowhere", "no tag at all", ""])
def test_a_tag_that_leads_nowhere_leaves_what_is_live_and_is_shown_until_it_is_mended(
    models: Models, pinned: str
) -> None:
    failed = models.service.metric("model_service_model_switches_total", outcome="failed")

    models.pin(pinned)
    wait_until(lambda: models.service.metric("model_service_model_switch_failing") == 1)

    assert models.live() == models.first
    assert models.service.call("POST", "/predict", {"customer_id": CUSTOMERS[0]}).status == 200
    assert "what should be live is not" in models.service.log.read_text()
    assert models.service.metric("model_service_model_switches_total", outcome="failed") >= failed
    models.pinned(models.second)
    wait_until(lambda: models.service.metric("model_service_model_switch_failing") == 0)


def test_a_tampered_model_never_goes_live(models: Models) -> None:
    name, version = models.second.split(":")
    file = models.folder / "bentoml" / "models" / name / version / "model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100] + bytes(100))
    try:
        models.pin(models.second)
        wait_until(lambda: models.service.metric("model_service_model_switch_failing") == 1)
        assert models.live() == models.first
        assert "model.onnx was altered" in models.service.log.read_text()
    finally:
        file.write_bytes(whole)
    models.pinned(models.second)  # it is tried again without a further word


def test_a_challenger_comes_changes_and_goes_without_a_restart_and_without_a_failed_request(models: Models) -> None:
    with Load(models.service.port, CUSTOMERS, 100) as load:
        models.challenge(tag=models.second, mode="shadow")
        wait_until(lambda: (models.beside() or {}).get("mode") == "shadow")
        wait_until(lambda: models.service.metric("model_service_challenger_rows_total", outcome="scored") > 0)
        models.challenge(tag=models.second, mode="canary", share=0.5)
        wait_until(lambda: (models.beside() or {}).get("mode") == "canary")
        time.sleep(1)
        models.alone()

    assert [] == [(e.status, e.code, e.failure) for e in load.exchanges if e.status != 200]
    by_challenger = {row[0] for e in load.exchanges for row in rows_of(e) if row[2] == "900"}
    assert 0.2 * len(CUSTOMERS) < len(by_challenger) < 0.8 * len(CUSTOMERS)
    singles = [e for e in load.exchanges if e.path == "/predict" and e.body["model"]["version"] == "900"]
    assert singles
    assert {"challenger"} == {e.headers["x-model-role"] for e in singles}


@pytest.mark.parametrize(
    ("challenge", "said"),
    [
        ({"tag": "customer_churn:v901-nowhere", "mode": "shadow"}, "is not in the BentoML model store"),
        ({"tag": "customer_churn:latest", "mode": "shadow"}, "is not an exact model tag"),
        ({"tag": "customer_churn:v900-second", "mode": "both"}, "mode: "),
        ({"tag": "customer_churn:v900-second", "mode": "canary", "share": 2}, "share: "),
    ],
)
def test_a_challenger_that_cannot_be_leaves_the_champion_alone(
    models: Models, challenge: dict[str, object], said: str
) -> None:
    models.challenge(**challenge)
    wait_until(lambda: models.service.metric("model_service_model_switch_failing") == 1)

    assert models.beside() is None
    assert models.service.call("POST", "/predict", {"customer_id": CUSTOMERS[0]}).status == 200
    assert said in models.service.log.read_text()
