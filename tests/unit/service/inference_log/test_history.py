"""The last answers of a key are found in complete and open files, newest first, within bounds."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from artefacts.log_rows import files_of, log_days
from scoring.inference_log import log_table
from scoring.models.imported_model import ImportedModel
from scoring.pseudonyms import Pseudonyms
from service.errors import OverloadedError
from service.inference_log.files import Limits, LogFiles
from service.inference_log.history import AnswerHistory, Bounds
from tests.models.answers import answers, small_model
from tests.models.fakes import NOW_US, contract_of, store_model
from tests.models.typed import KEY, purchase, typed_contract, typed_model
from tests.unit.service.inference_log.test_typed_rows import SECRET_KEY, logged

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERYTHING = Limits(10**9, 10**9, 10**6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return small_model(tmp_path_factory.mktemp("model"))


def asked_at(
    model: ImportedModel, times: Sequence[datetime], keys: Sequence[Any], role: str = "champion", answered: bool = True
) -> pa.Table:
    """Rows as the log has them: row n is of request `r<n>`."""
    made = replace(
        answers(replace(model, role=role), len(times)),
        request_ids=[f"{time:%dT%H%M%S}" for time in times],
        keys=keys,
        as_of_unix_us=np.array([round(time.timestamp() * 1e6) for time in times]),
        answered=np.full(len(times), answered),
    )
    return log_table(made)


def written(folder: Path, *tables: pa.Table, at: datetime = START, complete: bool = True) -> LogFiles:
    """One file of the log, named after the moment at which it was begun."""
    files = LogFiles(folder, EVERYTHING)
    for table in tables:
        files.append(table, at)
    if complete:
        files.close()
    return files


def minutes(*after: float) -> list[datetime]:
    return [START + timedelta(minutes=minute) for minute in after]


def ids(history: AnswerHistory, model: ImportedModel, key: Any = "c1", limit: int = 20) -> list[str]:
    """Request ids of a look that found all there is."""
    found = history.look(model, key, limit)
    assert found.complete
    return [answer["request_id"] for answer in found.answers]


def test_an_answer_has_its_time_outputs_status_and_model(tmp_path: Path, model: ImportedModel) -> None:
    table = asked_at(model, minutes(0, 1, 2, 3), ["c0", "c1", "c2", "c3"])
    written(tmp_path, table)

    (answer,) = AnswerHistory(tmp_path).look(model, "c1", 20).answers

    assert {
        "time": START + timedelta(minutes=1),
        "request_id": "01T120100",
        "model_version": "7",
        "churn_probability": table["churn_probability"][1].as_py(),
        "churn": table["churn"][1].as_py(),
        "status": "degraded",
        "role": "champion",
        "shadow": None,
    } == answer
    unknown = AnswerHistory(tmp_path).look(model, "c3", 20).answers[0]
    assert ("unknown_customer", None) == (unknown["status"], unknown["churn"])


@pytest.mark.parametrize("complete", [True, False])
def test_the_newest_come_first_from_all_files(tmp_path: Path, model: ImportedModel, complete: bool) -> None:
    last = ["c1", "c2", "c1"]
    written(tmp_path, asked_at(model, minutes(1, 2, 30), last), at=START)
    written(tmp_path, asked_at(model, minutes(20, 21, 22), last), at=START + timedelta(minutes=15))
    kept = written(tmp_path, asked_at(model, minutes(40, 41, 42), last), at=START, complete=complete)

    history = AnswerHistory(tmp_path)

    assert ["01T124200", "01T124000", "01T123000", "01T122200", "01T122000", "01T120100"] == ids(history, model)
    assert ["01T124200", "01T124000", "01T123000"] == ids(history, model, limit=3)
    kept.close()


def test_a_row_that_was_written_after_midnight_is_in_its_place(tmp_path: Path, model: ImportedModel) -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    before = [midnight - timedelta(seconds=seconds) for seconds in (40, 20, 1)]
    written(tmp_path, asked_at(model, before[:2], ["c1"] * 2), at=before[0])
    written(tmp_path, asked_at(model, [before[2], midnight], ["c1"] * 2), at=midnight)

    history = AnswerHistory(tmp_path)

    assert ["02T000000", "01T235959", "01T235940", "01T235920"] == ids(history, model, limit=4)
    assert ["02T000000", "01T235959", "01T235940"] == ids(history, model, limit=3)


def test_earlier_days_are_not_read_once_enough_is_found(tmp_path: Path, model: ImportedModel) -> None:
    written(tmp_path, asked_at(model, minutes(0), ["c1"]), at=START)
    later = START + timedelta(days=3)
    written(tmp_path, asked_at(model, [later], ["c1"]), at=later)
    ((_, earlier), _) = log_days(tmp_path)
    for file in files_of([earlier]):
        file.write_bytes(b"damaged")

    assert ["04T120000"] == ids(AnswerHistory(tmp_path), model, limit=1)
    assert not AnswerHistory(tmp_path).look(model, "c1", 2).complete


def test_only_what_was_answered_by_this_model_counts(tmp_path: Path, model: ImportedModel) -> None:
    other = replace(model, contract=model.contract.model_copy(update={"model_name": "another"}))
    spend = store_model(tmp_path / "spend", contract_of("regression")).load()
    canary = asked_at(model, minutes(1), ["c1"], role="challenger")
    shadow = asked_at(model, minutes(2), ["c1"], role="challenger", answered=False)
    written(tmp_path / "log", canary, shadow, asked_at(other, minutes(3), ["c1"]))
    written(tmp_path / "log", asked_at(spend, minutes(4), ["c1"]))

    found = AnswerHistory(tmp_path / "log").look(model, "c1", 20)

    assert [("01T120100", "challenger")] == [(answer["request_id"], answer["role"]) for answer in found.answers]
    assert found.complete


@pytest.mark.parametrize("complete", [True, False])
def test_an_answer_comes_with_what_a_shadow_computed_of_the_same_request(
    tmp_path: Path, model: ImportedModel, complete: bool
) -> None:
    challenger = replace(model, contract=model.contract.model_copy(update={"model_version": "8"}))
    asked = minutes(0, 1, 2, 3), ["c1", "c1", "c2", "c1"]
    shadow = asked_at(challenger, *asked, role="challenger", answered=False).slice(1)  # it has dropped one
    written(tmp_path, asked_at(model, *asked))
    kept = written(tmp_path, shadow, at=START + timedelta(minutes=5), complete=complete)

    newest = AnswerHistory(tmp_path).look(model, "c1", 2).answers
    every = AnswerHistory(tmp_path).look(model, "c1", 20).answers

    computed = [row for row in shadow.to_pylist() if row["customer_id"] == "c1"]
    said = [{"model_version": "8", "churn_probability": r["churn_probability"], "churn": r["churn"]} for r in computed]
    assert [said[1], said[0], None] == [answer["shadow"] for answer in every]
    assert every[:2] == newest
    kept.close()


def test_rows_of_one_request_have_each_their_own_shadow(tmp_path: Path, model: ImportedModel) -> None:
    """A batch may ask for one key twice, with other values of the request."""
    champion, shadow = (
        asked_at(model, minutes(0, 0), ["c1", "c1"], role=role, answered=role == "champion")
        for role in ("champion", "challenger")
    )
    written(tmp_path, champion, shadow)

    answers = AnswerHistory(tmp_path).look(model, "c1", 20).answers

    assert champion["churn_probability"].to_pylist() == [answer["churn_probability"] for answer in answers]
    assert shadow["churn_probability"].to_pylist() == [answer["shadow"]["churn_probability"] for answer in answers]
    assert 2 == len({answer["churn_probability"] for answer in answers})


def test_probabilities_of_a_live_challenger_are_named(tmp_path: Path) -> None:
    live = store_model(tmp_path / "live", contract_of("multiclass")).load()
    challenger = replace(live, contract_sha256="1" * 64)
    canary = asked_at(challenger, minutes(1), ["c1"], role="challenger")
    shadow = asked_at(challenger, minutes(0), ["c1"], role="challenger", answered=False)
    written(tmp_path / "log", asked_at(live, minutes(0), ["c1"]), canary, shadow)

    by_canary, by_champion = AnswerHistory(tmp_path / "log").look(live, "c1", 20, challenger).answers

    for outputs in (by_canary, by_champion, by_champion["shadow"]):
        assert ["low", "middle", "high"] == list(outputs["segment_probabilities"])


def test_probabilities_are_named_only_by_the_contract_that_they_were_answered_under(tmp_path: Path) -> None:
    now = store_model(tmp_path / "now", contract_of("multiclass")).load()
    before = replace(now, contract_sha256="0" * 64)
    written(tmp_path / "log", asked_at(now, minutes(1), ["c1"]), asked_at(before, minutes(0), ["c1"]))

    last, first = AnswerHistory(tmp_path / "log").look(now, "c1", 20).answers

    assert ["low", "middle", "high"] == list(last["segment_probabilities"])
    assert last["segment"] == max(last["segment_probabilities"], key=last["segment_probabilities"].get)
    assert (last["segment"], None) == (first["segment"], first["segment_probabilities"])


async def test_pseudonyms_are_looked_up_by_the_pseudonym_and_never_by_the_key(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(SECRET_KEY)
    await logged(tmp_path, {KEY: purchase(), (8, "m1"): purchase()}, inference_log_id_key_file=str(key_file))
    model, folder = typed_model(tmp_path, typed_contract()), tmp_path / "log"
    pseudonyms = Pseudonyms.from_file(key_file)

    (answer,) = AnswerHistory(folder, pseudonyms).look(model, KEY, 20).answers

    assert ("r", "ok", NOW_US) == (answer["request_id"], answer["status"], round(answer["time"].timestamp() * 1e6))
    assert [] == AnswerHistory(folder).look(model, KEY, 20).answers
    assert [] == AnswerHistory(folder, Pseudonyms(b"another key" * 3)).look(model, KEY, 20).answers


def test_a_key_may_begin_like_a_pseudonym(tmp_path: Path, model: ImportedModel) -> None:
    pseudonyms = Pseudonyms(SECRET_KEY.encode())
    written(tmp_path / "plain", asked_at(model, minutes(0, 1), ["p:17", "c1"]))
    written(tmp_path / "hidden", asked_at(model, minutes(0, 1), pseudonyms.of(["p:17", "c1"])))

    assert ["01T120000"] == ids(AnswerHistory(tmp_path / "plain"), model, "p:17")
    assert ["01T120000"] == ids(AnswerHistory(tmp_path / "hidden", pseudonyms), model, "p:17")


async def test_keys_of_before_the_pseudonyms_are_not_looked_up(tmp_path: Path) -> None:
    await logged(tmp_path, {KEY: purchase(), (8, "m1"): purchase()})
    model, folder = typed_model(tmp_path, typed_contract()), tmp_path / "log"

    assert 1 == len(AnswerHistory(folder).look(model, KEY, 20).answers)
    assert [] == AnswerHistory(folder, Pseudonyms(SECRET_KEY.encode())).look(model, KEY, 20).answers


@pytest.mark.parametrize("bounds", [Bounds(files=2), Bounds(size=5000), Bounds(seconds=0)])
def test_a_look_ends_at_its_bounds_and_says_so(tmp_path: Path, model: ImportedModel, bounds: Bounds) -> None:
    for minute in range(6):
        at = START + timedelta(minutes=minute)
        written(tmp_path, asked_at(model, [at], ["c1"]), at=at)

    found = AnswerHistory(tmp_path, bounds=bounds).look(model, "c1", 20)

    newest = [f"01T120{minute}00" for minute in reversed(range(6))]
    assert newest[: len(found.answers)] == [answer["request_id"] for answer in found.answers]
    assert (False, True) == (found.complete, len(found.answers) < 6)


def test_one_key_that_asked_very_often_costs_no_more_than_the_limit(tmp_path: Path, model: ImportedModel) -> None:
    times = [START + timedelta(milliseconds=at) for at in range(3000)]
    written(tmp_path, asked_at(model, times, ["c1"] * 3000))

    found = AnswerHistory(tmp_path).look(model, "c1", 5)

    assert times[:-6:-1] == [answer["time"] for answer in found.answers]


def test_what_cannot_be_read_is_left_out_and_the_answer_is_not_complete(tmp_path: Path, model: ImportedModel) -> None:
    written(tmp_path, asked_at(model, minutes(0), ["c1"]))
    ((_, day),) = log_days(tmp_path)
    for name in ("20260301T130000.000000-x-1.parquet", "20260301T130000.000000-x-2.arrows"):
        (day / name).write_bytes(b"damaged")

    found = AnswerHistory(tmp_path).look(model, "c1", 20)

    assert (1, False) == (len(found.answers), found.complete)


def test_a_folder_that_is_not_there_holds_no_answers(tmp_path: Path, model: ImportedModel) -> None:
    assert [] == ids(AnswerHistory(tmp_path / "none"), model)


async def test_only_one_look_goes_on_at_a_time(tmp_path: Path, model: ImportedModel) -> None:
    looking, goes_on = threading.Event(), threading.Event()

    def clock() -> float:
        looking.set()
        goes_on.wait(10)
        return 0.0

    history = AnswerHistory(tmp_path, clock=clock)
    first = threading.Thread(target=history.look, args=(model, "c1", 20))
    first.start()
    looking.wait(10)

    with pytest.raises(OverloadedError, match="another request reads the history"):
        await history.last(model, "c1", 20)

    goes_on.set()
    first.join(10)
    assert [] == ids(history, model)
