"""The first prediction asks by the model's own join key, for an entity of the offline store."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artefacts.addresses import Artefacts
from contract import EntityKey, RequestInput
from jobs.errors import JobError
from jobs.local import first_prediction as module
from jobs.local.first_prediction import first_prediction
from tests.models.labelled_log import small_model


class _Ready(BaseHTTPRequestHandler):
    """Ready at once; answers a prediction with what was asked."""

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer({"asked": json.loads(self.rfile.read(int(self.headers["Content-Length"])))})

    def _answer(self, body: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def artefacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artefacts:
    model = small_model(tmp_path / "model", "7")
    keys = (EntityKey(join_key="household_id", dtype="string"),)
    schema = model.contract.feature_schema.model_copy(update={"entity_keys": keys})
    other = replace(model, contract=model.contract.model_copy(update={"feature_schema": schema}))
    monkeypatch.setattr(module, "pinned_tag", lambda _: "small:v7")
    monkeypatch.setattr(module, "open_model", lambda _: other)
    return Artefacts.of({}, tmp_path)


def test_it_shows_a_curl_and_the_answer_for_an_entity_that_has_features(
    url: str, artefacts: Artefacts, capsys: pytest.CaptureFixture[str]
) -> None:
    file = artefacts.offline_store / "current" / "spend" / "2024-06" / "part-0.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"household_id": ["h2", "h1"]}), file)

    first_prediction(url, artefacts)

    said = capsys.readouterr().out
    assert "Ready. A prediction, by household_id:" in said
    assert """-d '{"household_id": "h2"}'""" in said
    assert {"household_id": "h2"} == json.loads(said[said.index("\n{\n") : said.index("\n}\n") + 2])["asked"]


def test_without_features_it_says_what_makes_them(url: str, artefacts: Artefacts) -> None:
    with pytest.raises(JobError, match="run `make features` first"):
        first_prediction(url, artefacts)


def test_an_entity_of_several_keys_is_one_that_there_is_and_values_of_the_request_are_shown(
    url: str,
    artefacts: Artefacts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = small_model(tmp_path / "another", "7")
    keys = (EntityKey(join_key="household_id", dtype="int64"), EntityKey(join_key="department", dtype="string"))
    given = (
        RequestInput(name="as_of", dtype="int64", filled_by="request_time_unix_us"),
        RequestInput(name="coupon", dtype="float64", filled_by="request"),
        RequestInput(name="channel", dtype="string", filled_by="request", default="shop"),
    )
    schema = model.contract.feature_schema.model_copy(update={"entity_keys": keys, "request_inputs": given})
    asked = replace(model, contract=model.contract.model_copy(update={"feature_schema": schema}))
    monkeypatch.setattr(module, "open_model", lambda _: asked)
    for view, rows in (
        ("pairs", {"household_id": [7, 2**60], "department": ["MEAT", "DELI"]}),
        ("households", {"household_id": [1, 2]}),
    ):
        file = artefacts.offline_store / "current" / view / "2024-06" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(pa.table(rows), file)

    first_prediction(url, artefacts)

    said = capsys.readouterr().out
    assert "Ready. A prediction, by household_id and department:" in said
    body = {"household_id": 2**60, "department": "DELI", "inputs": {"coupon": 1.0}}
    assert body == json.loads(said[said.index("\n{\n") : said.index("\n}\n") + 2])["asked"]
