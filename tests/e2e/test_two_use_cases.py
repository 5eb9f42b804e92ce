"""Churn and household_spend side by side, as they lie by default: neither changes or removes what is the other's."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.console.browser import Console, chromium, chromium_is_there
from tests.loop import free_port
from tests.models.households import write_households
from tests.servers.monitoring import needs_prometheus, node_exporter, prometheus
from tests.servers.redis_servers import valkey
from tests.servers.serving import Service, wait_until
from tests.two_use_cases import CASES, CHURN, HOUSEHOLDS, NONE, Case, Pair, beside, without

Served = dict[Case, Service]
AGE, ANOTHER_AGE = "household_demographics__age", "45-54"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both are trained, imported and materialized, each command of both at once."""
    folder = tmp_path_factory.mktemp("pair")
    with valkey(folder / "redis") as server:
        pair = Pair.copied(folder, server.url)
        write_households(pair.root / HOUSEHOLDS.own / "data", households=300)
        pair.run(HOUSEHOLDS, "training", "data", "--follow-today")
        pair.run(CHURN, "training", "data", "--synthetic", "1500")
        for command in ("features", "apply", "materialize"):
            pair.run_both("jobs", command)
        pair.run_both("training", "train", codes=(0, 4))
        for case in CASES:
            if "champion" not in pair.aliases(case):  # so few entities may not tell that a model is good
                pair.run(case, "training", "promote", "--version=1", "--force", "--reason=a test")
        pair.run_both("training", "import-model")
        yield pair


@pytest.fixture(scope="module")
def served(pair: Pair) -> Iterator[Served]:
    with ExitStack() as stack:
        log = {"SERVICE_INFERENCE_LOG": "true", "SERVICE_INFERENCE_LOG_FLUSH_SECONDS": "0.2", "SERVICE_HISTORY": "true"}
        yield {case: stack.enter_context(pair.serving(case, SERVICE_FOLLOW_STORE="true", **log)) for case in CASES}


@contextmanager
def untouched(pair: Pair, case: Case) -> Iterator[None]:
    """Everything of this use case is the same before and after the block."""
    before = pair.all_of(case)
    assert all(before.values()), "there is something to lose"
    yield
    after = pair.all_of(case)
    assert {what: _changed(before[what], after[what]) for what in before} == {what: [] for what in before}


def _changed(before: Any, after: Any) -> list[Any]:
    if isinstance(before, dict):
        return [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    return [each for each in [*before, *after] if before.count(each) != after.count(each)]


def version_of(service: Service, case: Case) -> str:
    answer = service.call("POST", "/predict", {case.join_key: case.entity})
    assert (200, case.model) == (answer.status, answer.body["model"]["name"])
    return str(answer.body["model"]["version"])


def test_both_answer_by_their_own_keys_and_count_their_own_requests(pair: Pair, served: Served) -> None:
    before = {case: _predicted(served[case], case.model) for case in CASES}
    for asked, case in enumerate(CASES, start=1):
        for _ in range(asked):
            version_of(served[case], case)
        foreign = served[case].call("POST", "/predict", {beside(case).join_key: beside(case).entity})
        assert (400, case.join_key) == (foreign.status, foreign.body["error"]["field"])

    for asked, case in enumerate(CASES, start=1):
        assert before[case] + asked == _predicted(served[case], case.model)
        assert 0 == _predicted(served[case], beside(case).model)
    assert {"churn_probability", "spend_28d"} <= {
        output["name"] for case in CASES for output in served[case].call("GET", "/model").body["contract"]["outputs"]
    }


def _predicted(service: Service, model: str) -> float:
    return service.metric("model_service_requests_total", call="predict", outcome="ok", model=model)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_entity_that_vanished_takes_its_own_rows_along(pair: Pair, case: Case) -> None:
    gone: str | int = "000000450" if case == CHURN else 11
    before = pair.online_rows(case)
    with untouched(pair, beside(case)):
        without(case, pair.root, gone)
        pair.run(case, "jobs", "features")
        pair.run(case, "jobs", "materialize")

    removed = before.keys() - pair.online_rows(case).keys()
    value = gone.encode() if isinstance(gone, str) else gone.to_bytes(8, "little")
    assert removed
    assert all(value in key for key in removed)
    assert pair.online_rows(case).keys() < before.keys()


def test_another_owner_takes_over_the_rows_of_its_own_project_only(pair: Pair) -> None:
    case = HOUSEHOLDS
    store = pair.root / case.own / "offline_store"
    copied = pair.root / f"copied_{case}"
    shutil.copytree(store, copied / "store", symlinks=True)
    elsewhere = {
        "OFFLINE_STORE_DIR": str(copied / "store"),
        "FEAST_REGISTRY": str(copied / "registry.db"),
        "MATERIALIZE_RUNS_PATH": str(copied / "runs.jsonl"),
    }
    with untouched(pair, beside(case)):
        pair.run(case, "jobs", "apply", settings=elsewhere)
        refused = pair.run(case, "jobs", "materialize", codes=(6,), settings=elsewhere)
        pair.run(case, "jobs", "materialize", "--take-over", settings=elsewhere)
        back = pair.run(case, "jobs", "materialize", codes=(6,))
        pair.run(case, "jobs", "materialize", "--take-over")

    assert f"the rows of {case.project} in this Redis belong to" in refused
    assert str(copied) in back


def test_a_model_of_one_is_trained_promoted_and_rolled_back_and_the_other_answers_as_before(
    pair: Pair, served: Served
) -> None:
    before = {case: version_of(served[case], case) for case in CASES}
    with untouched(pair, HOUSEHOLDS):
        moved = _another_champion(pair, CHURN, {"TRAINING_SEED": "3"})
        wait_until(lambda: version_of(served[CHURN], CHURN) == moved)
        assert before[HOUSEHOLDS] == version_of(served[HOUSEHOLDS], HOUSEHOLDS)
        pair.run(CHURN, "training", "rollback", "--reason=a test")
        wait_until(lambda: version_of(served[CHURN], CHURN) == before[CHURN])

    assert moved != before[CHURN]
    assert before == {case: pair.aliases(case)["champion"] for case in CASES}


def test_a_model_with_a_larger_vocabulary_is_promoted_followed_and_rolled_back(pair: Pair, served: Served) -> None:
    """The codes of categories differ between the two: each model has its own from its contract."""
    service = served[HOUSEHOLDS]
    first, before, vocabulary = version_of(service, HOUSEHOLDS), _spend(service), _ages(service)
    with untouched(pair, CHURN):
        _some_are_of_another_age(pair)
        pair.run(HOUSEHOLDS, "jobs", "features")
        pair.run(HOUSEHOLDS, "jobs", "materialize")
        moved = _another_champion(pair, HOUSEHOLDS)
        wait_until(lambda: version_of(service, HOUSEHOLDS) == moved)
        grown = _ages(service)
        pair.run(HOUSEHOLDS, "training", "rollback", "--reason=a test")
        wait_until(lambda: version_of(service, HOUSEHOLDS) == first)

    assert sorted([*vocabulary, ANOTHER_AGE]) == sorted(grown)
    assert vocabulary == _ages(service)
    assert before == pytest.approx(_spend(service), rel=1e-3)  # the hours since the last trip go on
    issues = service.call("POST", "/predict", {"household_id": 1}).body["feature_issues"]
    assert "unseen" in {issue["state"] for issue in issues if issue["feature"] == AGE}


def _another_champion(pair: Pair, case: Case, settings: Mapping[str, str] = NONE) -> str:
    """Train a version and make it champion, here too; its number."""
    pair.run(case, "training", "train", codes=(0, 4), settings=settings)
    newest = str(max(int(found.version) for found in pair.mlflow.search_model_versions(f"name = '{case.model}'")))
    if newest == pair.aliases(case)["champion"]:
        pair.run(case, "training", "import-model")
    else:  # the gate cannot tell with so few entities
        pair.run(case, "training", "promote", f"--version={newest}", "--force", "--reason=a test")
    return newest


def _spend(service: Service) -> float:
    return float(service.call("POST", "/predict", {"household_id": HOUSEHOLDS.entity}).body["spend_28d"])


def _ages(service: Service) -> list[str]:
    inputs = service.call("GET", "/model").body["contract"]["inputs"]
    (age,) = (given for given in inputs if given["name"] == AGE)
    return list(age["vocabulary"])


def _some_are_of_another_age(pair: Pair) -> None:
    file = pair.root / HOUSEHOLDS.own / "data" / "households.parquet"
    table = pq.read_table(file)
    ages = [ANOTHER_AGE if n % 5 == 0 else age for n, age in enumerate(table["age"].to_pylist())]
    pq.write_table(table.set_column(table.schema.get_field_index("age"), "age", pa.array(ages)), file)


def test_a_challenger_of_one_is_none_of_the_other_and_its_answers_are_beside_those_that_were_given(
    pair: Pair, served: Served
) -> None:
    newest = str(max(int(v.version) for v in pair.mlflow.search_model_versions("name = 'household_spend'")))
    service, shown = served[HOUSEHOLDS], ""
    with untouched(pair, CHURN):
        pair.run(HOUSEHOLDS, "training", "challenge", "--mode=shadow", f"--version={newest}")
        wait_until(lambda: service.call("GET", "/model").body.get("challenger") is not None)
        assert served[CHURN].call("GET", "/model").body.get("challenger") is None
        version_of(service, HOUSEHOLDS)
        wait_until(lambda: _last_answer(service)["shadow"] is not None)
        answer = _last_answer(service)
        if chromium_is_there():
            shown = _shown_in_the_console(service)
        pair.run(HOUSEHOLDS, "training", "challenge", "--mode=off")
        wait_until(lambda: service.call("GET", "/model").body.get("challenger") is None)

    assert newest == answer["shadow"]["model_version"] != answer["model_version"]
    assert answer["shadow"]["spend_28d"] >= 0
    if not chromium_is_there():
        pytest.skip("chromium is not installed; all but the console was tested")
    assert f"(version {newest})" in shown


def _last_answer(service: Service) -> dict[str, Any]:
    newest: dict[str, Any] = service.call("GET", f"/history?household_id={HOUSEHOLDS.entity}").body["answers"][0]
    return newest


def _shown_in_the_console(service: Service) -> str:
    """Its table of the last answers."""
    with chromium() as browser, Console.opened(browser, f"http://127.0.0.1:{service.port}") as console:
        assert "(shadow)" in console.text("#about")
        console.ask({"household_id": HOUSEHOLDS.entity})
        console.page.locator("#history").wait_for()
        console.check()
        return console.text("#history")


def test_a_pin_of_the_other_is_refused_at_the_start(pair: Pair) -> None:
    mistaken = {"MODEL_TAG_PATH": str(pair.root / "var" / "model_tag")}

    said = r"not starting: the model reads features of Feast's project 'churn', but .* that of 'household'"
    with pytest.raises(AssertionError, match=said), pair.serving(HOUSEHOLDS, **mistaken):
        pytest.fail("it started")


def _is_logged(service: Service, rows: int) -> bool:
    return service.metric("model_service_log_rows_total", outcome="written") >= rows


@needs_prometheus
def test_one_node_exporter_and_one_prometheus_tell_their_metrics_and_alerts_apart(pair: Pair, served: Served) -> None:
    reports = pair.root / "metrics"
    here = {"JOBS_METRICS_DIR": str(reports)}
    asked: dict[Case, Sequence[str | int]] = {CHURN: [CHURN.entity] * 3, HOUSEHOLDS: [HOUSEHOLDS.entity] * 5}
    for case in CASES:
        assert 200 == served[case].call("POST", "/predict_batch", {f"{case.join_key}s": asked[case]}).status
        wait_until(partial(_is_logged, served[case], len(asked[case])))
        pair.run(case, "jobs", "audit-skew", f"--out={pair.root / case.own / 'skew'}", codes=(0, 3), settings=here)
        pair.run(case, "jobs", "materialize", settings=here)
    pair.run(
        HOUSEHOLDS,
        "jobs",
        "materialize",
        codes=(1,),
        settings={**here, "REDIS_URL": f"redis://127.0.0.1:{free_port()}"},
    )

    ports = [service.port for service in served.values()]
    with (
        node_exporter(reports) as exporter,
        prometheus(
            pair.root / "prometheus", {"model-service": ports, "model-jobs": [exporter]}, free_port()
        ) as watching,
    ):
        wait_until(lambda: "ModelJobsMaterializeFailing" in watching.firing(), 60)
        wait_until(lambda: len(watching.values("model_jobs_skew_audited_rows")) > 1)
        firing = watching.ask("alerts")["alerts"]
        rules = [rule for group in watching.ask("rules")["groups"] for rule in group["rules"]]
        live = watching.ask("query", query='model_service_model_live{role="champion"}')["result"]
        failed = watching.ask("query", query="node_textfile_scrape_error")["result"]
        audited = watching.ask("query", query="model_jobs_skew_audited_rows")["result"]

    assert {"ok"} == {rule["health"] for rule in rules}
    assert {"customer_churn", "household_spend"} == {series["metric"]["model"] for series in live}
    assert {"customer_churn", "household_spend"} == {series["metric"]["model"] for series in audited}
    assert {"household"} == {
        alert["labels"]["project"] for alert in firing if alert["labels"]["alertname"] == "ModelJobsMaterializeFailing"
    }
    assert ["0"] == [series["value"][1] for series in failed]
