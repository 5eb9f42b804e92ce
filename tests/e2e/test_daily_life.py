"""Some days of a shop, as its user lives them: the harness of `python -m tests.daily_life`, made short."""

import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from tests.daily_life.month import Day, Life
from tests.daily_life.place import place
from tests.daily_life.shop import Shop, lines_of
from tests.loop import Loop
from tests.servers.spark import needs_spark

TODAY = datetime(2026, 3, 2, 15, tzinfo=UTC)
DAYS = [Day(kills=1), Day(renamed=True), Day(delivers=False, streams=False, skipped=2), Day(says_until=True)]
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="sets the clock of commands, with a C compiler")


def some_lines(file: Path, rng: random.Random) -> Path:
    """Orders of up to three lines in the 200 days until today; every day somebody is new."""
    rows = []
    for order in range(1_500):
        days = rng.uniform(0, 200)
        at = TODAY + timedelta(hours=9) - timedelta(days=days)
        customer = f"c{rng.randrange(60) if rng.random() < 0.7 else 60 + int(200 - days)}"
        for _ in range(rng.randint(1, 3)):
            rows.append((f"o{order}", customer, at, round(rng.uniform(1, 90), 2), rng.randint(0, 4)))
    pd.DataFrame(rows, columns=["order_id", "customer_id", "event_timestamp", "amount", "items"]).to_parquet(file)
    return file


@needs_spark
@needs_compiler
@pytest.mark.timeout(600)
def test_whatever_happens_to_orders_every_value_is_right_or_the_answer_does_not_say_ok(
    loop: Loop, tmp_path: Path
) -> None:
    rng = random.Random(13)
    lines = lines_of(some_lines(tmp_path / "all.parquet", rng), TODAY)
    models = Path(loop.environment["BENTOML_HOME"]) / "models"
    with place(tmp_path, loop.root / "var" / "model_tag", models) as where:
        life = Life(where, Shop(lines, rng), rng, events=2)
        total = life.live(DAYS, TODAY)

    assert (0, 0, 0) == (total.different, total.wrong_ok, total.wrong_statuses), total.examples
    assert total.values > 10_000
    assert {"ok", "degraded", "unknown_customer"} == set(life.tallies[2].statuses) | set(life.tallies[3].statuses)
    assert not life.tallies[2].statuses["ok"], "more than two days after the last order that is known"
    assert min(life.shop.done.values()) > 0
    assert life.kills >= 1
    assert life.planted.different > life.planted.wrong_ok > 0, "a comparison that cannot fail proves nothing"
