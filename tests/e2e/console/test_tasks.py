"""The console in a browser, over models of every task, key and type."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Route

from contract.tasks import TaskKind
from tests.e2e.console.browser import PHONE, Console, needs_chromium
from tests.e2e.console.conftest import OpenConsole
from tests.e2e.console.servers import PREFIX, task_server, typed_server, version_1_server
from tests.models.typed import BALANCE

pytestmark = needs_chromium
KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
H1, PAIR = {"household_id": "h1"}, {"customer_id": 7, "merchant_id": "m1", "amount": 12.5}
KEY = "key-of-4711"


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server per task."""
    folder = tmp_path_factory.mktemp("tasks")
    with (
        task_server(folder / "binary", "binary") as binary,
        task_server(folder / "multiclass", "multiclass") as multiclass,
        task_server(folder / "regression", "regression") as regression,
    ):
        yield {"binary": binary, "multiclass": multiclass, "regression": regression}


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with typed_server(tmp_path_factory.mktemp("typed")) as url:
        yield url


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("look", [{}, {"scheme": "dark"}, {"size": PHONE}], ids=["light", "dark", "phone"])
def test_an_entity_gets_its_score_and_what_it_comes_from(
    open_console: OpenConsole, urls: dict[str, str], kind: TaskKind, look: dict[str, Any]
) -> None:
    console = open_console(urls[kind], **look)
    console.ask(H1)
    console.page.locator("#features").wait_for()

    shown = {"binary": r"(retained|churned) · \d+\.\d %", "multiclass": r"\w+ · \d+\.\d %", "regression": r"[\d.]+ EUR"}
    assert re.fullmatch(shown[kind], console.score)
    assert f"h1: {console.score}, ok." == console.text("#said")
    assert re.match(
        r"Base value .*days_since_last_order = 10: .*; sum ",
        str(console.page.locator("#explanation svg").get_attribute("aria-label")),
    )
    member = console.feature("is_member")
    assert ("true", "fresh", "12 h of 2.0 d") == (member["value"], member["state"], member["age of TTL"])
    assert "10 d, no TTL" == console.feature("spend")["age of TTL"]
    assert not console.page.locator("#history").is_visible(), "this service has no such call"
    console.check()


def test_a_class_is_answered_with_the_probability_of_each(open_console: OpenConsole, urls: dict[str, str]) -> None:
    console = open_console(urls["multiclass"])
    console.ask(H1)

    rows = console.page.locator("#answer tbody tr").all_inner_texts()
    found = {row.split()[0]: float(re.findall(r"[\d.]+", row)[0]) for row in rows}

    assert {"low", "middle", "high"} == set(found)
    assert 100 == pytest.approx(sum(found.values()), abs=0.2)
    assert sorted(found.values(), reverse=True) == list(found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_value_moves_the_score_and_reset_goes_back(
    open_console: OpenConsole, urls: dict[str, str], kind: TaskKind
) -> None:
    console = open_console(urls[kind])
    console.ask(H1)
    before = console.score

    console.what_if("days_since_last_order", "recency", 300)
    changed, moved, row = console.score, console.text("#moved"), console.feature("days_since_last_order")
    console.check()
    console.page.get_by_role("button", name="Reset all changes").click()
    console.page.locator("#moved").wait_for(state="detached")

    assert before != changed
    assert moved.endswith(f"against {before} without your changes")
    assert ("300", "overridden") == (row["value"].split("\n")[0], row["state"])
    assert before == console.score
    assert "10" == console.feature("days_since_last_order")["value"]


def test_what_the_store_holds_is_shown_beside_what_the_model_saw(
    open_console: OpenConsole, urls: dict[str, str]
) -> None:
    console = open_console(urls["binary"])
    console.ask({"household_id": "stale"})

    row = console.feature("order_count_30d")

    assert ("1\nstored: 2", "stale", "3.0 d of 2.0 d") == (row["value"], row["state"], row["age of TTL"])
    assert "degraded" in console.text("#said")
    assert "activity__order_count_30d: stale" in console.text("#answer")


def test_several_rows_are_a_batch_and_each_opens(open_console: OpenConsole, urls: dict[str, str]) -> None:
    console = open_console(urls["binary"])
    console.ask(H1, {"household_id": "nobody"}, {"household_id": "stale"}, {"household_id": "refused"})

    rows = [row.split("\n") for row in console.page.locator("#batch tbody tr").all_inner_texts()]
    console.check()
    console.page.get_by_role("button", name="Details of stale").click()
    console.page.locator("#answer").wait_for()

    assert 4 == len(rows)
    assert "unknown household" in console.text("#batch tbody tr:nth-child(2)")
    assert 2 == console.page.get_by_role("button", name="Details of").count(), "two have a score"
    assert console.text("#said").startswith("stale: ")
    console.check()


def test_lines_pasted_into_the_only_key_become_rows(open_console: OpenConsole, urls: dict[str, str]) -> None:
    console = open_console(urls["binary"])
    console.page.locator("#rows input").evaluate(
        """field => {
          const data = new DataTransfer();
          data.setData("text", "h1\\nstale\\n\\nnobody\\n");
          field.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, cancelable: true, bubbles: true}));
        }"""
    )

    assert ["h1", "stale", "nobody"] == [field.input_value() for field in console.page.locator("#rows input").all()]


@pytest.mark.parametrize(
    ("household", "said"),
    [
        (
            "nobody",
            r"household_id: no features are stored for this household \(unknown_household, request console-\w+\)",
        ),
        ("refused", r"the model's contract refuses to score: .* \(features_refused, request console-\w+\)"),
        ("x" * 257, r"household_id: String should have at most 256 characters \(invalid_request, request .*\)"),
    ],
)
def test_an_error_is_shown_with_message_code_and_field(
    open_console: OpenConsole, urls: dict[str, str], household: str, said: str
) -> None:
    console = open_console(urls["binary"])
    console.fill({"household_id": household})
    console.page.keyboard.press("Enter")
    console.page.locator("#problem p").wait_for()

    assert re.fullmatch(said, console.text("#problem"))
    assert (household != "refused") == (console.page.locator("#rows input").get_attribute("aria-invalid") == "true")
    assert not console.page.locator("#answer").is_visible()
    console.check()


def test_the_keyboard_is_enough(open_console: OpenConsole, urls: dict[str, str]) -> None:
    console = open_console(urls["binary"])
    page = console.page
    page.locator("#rows fieldset").wait_for()

    def focused() -> str:
        return str(page.evaluate("document.activeElement.innerText || document.activeElement.id"))

    order = []
    for _ in range(6):
        page.keyboard.press("Tab")
        order.append(focused())
    page.locator("#rows input").focus()
    page.keyboard.type("h1")
    page.keyboard.press("Enter")
    page.locator("#features").wait_for()
    page.get_by_label("New value of spend of profile").focus()
    page.keyboard.type("1")
    page.locator("#moved").wait_for()

    assert ["Skip to the form", "API", "API key…", "row1-household_id", "Score", "Add a row"] == order
    assert page.get_by_label("New value of spend of profile").evaluate("field => field === document.activeElement")


def test_an_api_key_is_asked_for_once_and_kept_nowhere(open_console: OpenConsole, tmp_path: Path) -> None:
    keys = f"shop:{hashlib.sha256(KEY.encode()).hexdigest()}"
    with task_server(tmp_path, "binary", api_keys=keys) as url:
        console = open_console(url)
        page = console.page
        page.get_by_role("dialog").wait_for()
        console.check()
        for given in ("another", KEY):
            page.get_by_label("Key", exact=True).fill(given)
            page.keyboard.press("Enter")
            if given != KEY:
                page.get_by_text("The service does not accept this key.").wait_for()
        console.ask(H1)

        assert console.score
        kept = "[Object.entries(localStorage), Object.entries(sessionStorage), document.cookie].flat(2).join()"
        assert "" == page.evaluate(kept)
        assert [] == [url for url in console.requested if KEY in url or "another" in url]
        assert KEY not in page.content()
        page.reload()
        page.get_by_role("dialog").wait_for()


def test_without_a_key_the_page_says_that_one_is_needed(open_console: OpenConsole, tmp_path: Path) -> None:
    with task_server(tmp_path, "binary", api_keys=f"shop:{'0' * 64}") as url:
        console = open_console(url)
        console.page.get_by_role("dialog").wait_for()
        console.page.keyboard.press("Escape")
        console.page.locator("#problem p").wait_for()

        assert "unauthenticated" in console.text("#problem")
        console.check()


@pytest.mark.parametrize("look", [{}, {"scheme": "dark", "size": PHONE}], ids=["light", "dark phone"])
def test_fields_are_those_of_the_contract_and_a_model_without_explanations_still_predicts(
    open_console: OpenConsole, typed: str, look: dict[str, Any]
) -> None:
    console = open_console(typed, **look)
    console.page.locator("#rows fieldset").wait_for()
    labels = console.page.locator("#rows label").all_inner_texts()
    console.ask(PAIR | {"gift": "true", "at": "2025-06-15T12:00:00Z"})
    console.page.locator("#features").wait_for()

    assert ["customer_id", "merchant_id", "amount", "channel", "items", "gift", "at"] == labels
    assert re.fullmatch(r"(kept|returned) · \d+\.\d %", console.score)
    assert console.text("#explanation p").startswith("No contributions: ")
    assert "–" == console.feature("balance")["adds"]
    found = {name: console.feature(name)["value"] for name in ("segment", "region", "is_new", "taste__1")}
    assert ["student", "20", "false", "−1"] == list(found.values())
    console.check()


def test_typed_values_can_be_changed(open_console: OpenConsole, typed: str) -> None:
    console = open_console(typed)
    console.ask(PAIR)

    for feature, view, value, shown in (
        ("segment", "customer", "martian", "martian"),
        ("segment", "customer", "senior", "senior"),
        ("region", "customer", 10, "10"),
        ("is_new", "pair", "true", "true"),
        ("signed_up", "customer", 86400, "86,400"),
    ):
        console.what_if(feature, view, value)
        row = console.row(feature)
        row.locator("td").first.get_by_text(shown, exact=True).wait_for()
        assert "overridden" == console.feature(feature)["state"]
    console.row("balance").get_by_label("null").check()
    console.page.get_by_text(f"{BALANCE}: overridden").wait_for()
    console.what_if("region", "customer", 11)
    console.page.locator("#problem p").wait_for()

    assert "features.customer__region" in console.text("#problem"), "this category may not be unseen"
    invalid = console.page.locator("#features [aria-invalid=true]")
    assert "New value of region of customer" == invalid.get_attribute("aria-label")
    console.check()


def test_the_largest_key_is_asked_for_exactly(open_console: OpenConsole, typed: str) -> None:
    console = open_console(typed)
    console.ask(PAIR | {"customer_id": 2**63 - 1})

    assert f"{2**63 - 1} · m1" in console.text("#said")


def test_what_is_not_of_its_type_is_said_before_anything_is_sent(open_console: OpenConsole, typed: str) -> None:
    console = open_console(typed)
    console.fill({"customer_id": "seven", "merchant_id": "", "amount": "much", "items": 2**40, "at": "tomorrow"})
    console.page.keyboard.press("Enter")

    assert [
        "a whole number is needed",
        "a key is needed",
        "a number is needed",
        "a whole number within int32 is needed",
        "a time with a zone is needed, like 2026-03-01T12:00:00Z",
    ] == [found for found in console.page.locator("#rows .field-problem").all_inner_texts() if found]
    assert "customer_id" == console.page.evaluate("document.activeElement.labels[0].innerText")
    assert [] == [url for url in console.requested if url.endswith(("explain", "predict"))]
    console.check()


def test_features_can_be_filtered(open_console: OpenConsole, urls: dict[str, str]) -> None:
    console = open_console(urls["binary"])
    console.ask(H1)
    console.page.get_by_label("Filter").fill("30d")

    visible = console.page.locator("#features tbody tr").locator("visible=true")
    assert 1 == visible.count()


def test_it_works_below_a_prefix(open_console: OpenConsole, urls: dict[str, str]) -> None:
    console = open_console(urls["binary"], path=f"{PREFIX}/")
    console.ask(H1)

    assert console.score
    paths = {urlsplit(url).path for url in console.requested if url.startswith("http")}
    assert {PREFIX} == {path[: len(PREFIX)] for path in paths}
    console.check()


def test_a_model_with_a_contract_of_version_1_is_shown_too(open_console: OpenConsole, tmp_path: Path) -> None:
    with version_1_server(tmp_path) as url:
        console = open_console(url)
        console.ask({"customer_id": "h1"})
        console.page.locator("#features").wait_for()

        assert re.fullmatch(r"(retained|churned) · \d+\.\d %", console.score)
        assert console.text("#explanation p").startswith("In log-odds.")
        console.what_if("spend", "profile", 0)
        console.check()


@pytest.mark.parametrize(
    ("challenger", "said"),
    [
        ({"mode": "shadow", "share": None}, "small_churn:v8 (shadow)\nits answers\nin the inference log, where"),
        ({"mode": "canary", "share": 0.1}, "small_churn:v8 (canary, 10.0 % of the keys)\nits answers\nto its share"),
    ],
)
def test_a_challenger_is_shown_with_its_mode(
    browser: Browser, urls: dict[str, str], challenger: dict[str, Any], said: str
) -> None:
    def with_challenger(route: Route) -> None:
        body = route.fetch().json()
        other = {"tag": "small_churn:v8", "version": "8", "contract_sha256": "0" * 64}
        route.fulfill(json={**body, "challenger": {**other, **challenger}})

    with Console.opened(browser, "about:blank", path="") as console:
        console.page.route("**/model", with_challenger)
        console.page.goto(urls["binary"])
        console.page.locator("#rows fieldset").wait_for()

        assert said in console.text("#about")
