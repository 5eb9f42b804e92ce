"""The console over real services for two use cases on households: a value in a unit, and one of many classes."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.console.browser import PHONE, needs_chromium
from tests.e2e.console.conftest import OpenConsole
from tests.e2e.household_place import CASES, Households
from tests.loop import SOURCE, Loop
from tests.servers.redis_servers import valkey
from tests.servers.serving import serving

pytestmark = needs_chromium
LOOKS: dict[str, dict[str, Any]] = {"light": {}, "dark": {"scheme": "dark"}, "phone": {"size": PHONE}}
SHOWN = {"household_spend": r"[\d,.]+ .+", "next_department": r".+ · \d+\.\d %"}


@pytest.fixture(scope="module")
def place(households: Households, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Households]:
    """Households whose purchases end today, in a Redis of their own."""
    with valkey(tmp_path_factory.mktemp("console") / "redis") as redis:
        made = replace(households, environment={**households.environment, "REDIS_URL": redis.url})
        made.run("jobs", "materialize", case=CASES[0])
        yield made


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: Path(case).name)
def test_a_household_is_asked_for_and_a_changed_value_moves_the_answer(
    open_console: OpenConsole, place: Households, case: str
) -> None:
    name = Path(case).name
    place.train(case)
    folder = place.root / f"console-{name}"
    environment = {**place.environment, **place.of(case)}
    log = {"SERVICE_INFERENCE_LOG": "true", "SERVICE_HISTORY": "true", "INFERENCE_LOG_DIR": str(folder / "log")}
    with serving(Loop(SOURCE, environment, "", ""), folder, **log) as service:
        for look, chosen in LOOKS.items():
            console = open_console(service.url, **chosen)
            console.ask({"household_id": 7})
            console.page.locator("#history").wait_for()

            assert re.fullmatch(SHOWN[name], console.score)
            states = set(console.page.locator("#features .state").all_inner_texts())
            assert "fresh" in states
            assert states <= {"fresh", "missing", "unseen"}
            assert re.match(r"\d+ answers, newest first", console.text("#history caption"))
            assert console.score == console.text("#history tbody tr:first-child td:nth-child(2)")
            console.check()
            console.figure(f"{name}-{look}")

        before = console.score
        console.page.locator("#features tbody tr").first.locator(".what-if input").first.fill("0")
        console.page.locator("#moved").wait_for()
        console.check()

        assert console.text("#moved").endswith(f"against {before} without your changes")
