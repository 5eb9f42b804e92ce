"""The console over the real service of the churn use case: answers, history, trouble, and Swagger's page."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.console.browser import PHONE, needs_chromium
from tests.e2e.console.conftest import OpenConsole
from tests.e2e.test_service import hung_redis
from tests.loop import Loop
from tests.servers.serving import Service, serving

pytestmark = needs_chromium
CUSTOMER = {"customer_id": "00042"}


@pytest.fixture(scope="module")
def service(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With an inference log and its history."""
    folder = tmp_path_factory.mktemp("console")
    log = {"SERVICE_INFERENCE_LOG": "true", "SERVICE_HISTORY": "true", "INFERENCE_LOG_DIR": str(folder / "log")}
    with serving(loop, folder, **log) as started:
        yield started


@pytest.mark.parametrize(("look", "chosen"), [("light", {}), ("dark", {"scheme": "dark"}), ("phone", {"size": PHONE})])
def test_a_customer_is_answered_as_by_the_api(
    open_console: OpenConsole, service: Service, look: str, chosen: dict[str, Any]
) -> None:
    answer = service.call("POST", "/predict", CUSTOMER).body
    console = open_console(service.url, **chosen)

    console.ask(CUSTOMER)
    console.page.locator("#history").wait_for()

    percent = re.search(r"([\d.]+) %", console.score)
    assert percent is not None
    assert 100 * answer["churn_probability"] == pytest.approx(float(percent.group(1)), abs=0.1)
    contract = service.call("GET", "/model").body["contract"]
    assert {given["name"].split("__", 1)[1] for given in contract["inputs"]} == set(console.features())
    assert console.page.locator("#features tbody svg .here").count() > 20, "the training rows beside most values"
    assert "customer_churn version" in console.text("#about")
    assert "● ready" == console.text("#health")
    assert console.page.locator("#history tbody tr").count() >= 2
    assert console.score == console.text("#history tbody tr:first-child td:nth-child(2)")
    console.check()
    console.figure(f"churn-{look}")


def test_a_changed_value_is_shown_as_a_figure(open_console: OpenConsole, service: Service) -> None:
    console = open_console(service.url)
    console.ask(CUSTOMER)

    console.what_if("order_count_90d", "customer_orders_windowed", 9)

    assert "9" == console.feature("order_count_90d")["value"].split("\n")[0]
    console.check()
    console.figure("churn-what-if")


def test_a_store_in_trouble_is_said(open_console: OpenConsole, service: Service, loop: Loop) -> None:
    with hung_redis(loop):
        console = open_console(service.url)
        console.fill(CUSTOMER)
        console.page.keyboard.press("Enter")
        console.page.locator("#problem p").wait_for()
        console.page.get_by_text("not ready").wait_for()

        assert re.search(
            r"\((deadline_exceeded|online_store_unavailable), request console-\w+\)", console.text("#problem")
        )
        console.check()


def test_swaggers_page_shows_the_calls_and_asks_no_other_host(open_console: OpenConsole, service: Service) -> None:
    console = open_console(service.url, path="/docs")
    console.page.locator("#operations-default-predict").wait_for()
    console.page.locator("#operations-default-predict button").first.click()
    console.page.get_by_role("button", name="Try it out").click()
    console.page.get_by_role("button", name="Execute").click()
    console.page.locator(".responses-table.live-responses-table").wait_for()

    assert [] == console.complaints
    assert [] == [url for url in console.requested if not url.startswith((service.url, "data:"))]
