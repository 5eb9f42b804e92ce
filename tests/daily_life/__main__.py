"""Put anybody's orders through a month of daily life: `python -m tests.daily_life --orders orders.parquet`.

Needs an imported model (`make run` makes one), Linux and a C compiler for the clock, Java for the stream. The orders
are moved by whole days so that the last of them is of today.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.daily_life.month import Life, empty, usual_month
from tests.daily_life.place import place
from tests.daily_life.shop import Shop, lines_of
from tests.loop import SOURCE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.daily_life", description=__doc__)
    parser.add_argument("--orders", type=Path, required=True, help=".parquet or .csv as make data takes it, lines too")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--sample", type=int, default=0, help="customers asked for each day; default all")
    parser.add_argument("--events", type=int, default=3, help="corrected, cancelled, returned and late orders a day")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-stream", action="store_true", help="no orders are streamed, which needs Java and Spark")
    parser.add_argument("--folder", type=Path, default=None, help="where all of it lies; default a temporary folder")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file for the figures")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends, too
    homes = Path(os.environ.get("BENTOML_HOME", Path.home() / "bentoml"))
    tag = Path(os.environ.get("MODEL_TAG_PATH", SOURCE / "var" / "model_tag"))
    if not tag.exists():
        parser.error(f"{tag}: no model is imported here; make run makes all that it takes")
    folder = empty(chosen.folder) if chosen.folder else Path(tempfile.mkdtemp(prefix="daily-life-"))
    days = usual_month(chosen.days)
    rng = random.Random(chosen.seed)
    with place(folder, tag, homes / "models") as where:
        last = datetime.now(UTC).replace(hour=15, minute=0, second=0, microsecond=0)
        lines = lines_of(chosen.orders, last)
        life = Life(where, Shop(lines, rng), rng, chosen.sample, chosen.events, not chosen.no_stream, _say)
        total = life.live(days, last)
    figures = {
        "days": len(days),
        **total.as_dict(),
        "different where orders are forgotten on purpose": life.planted.different,
        "happened": {**life.shop.done, "streamed": len(life.streamed), "streams killed": life.kills},
    }
    print(json.dumps(figures, indent=1))
    if chosen.out:
        chosen.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if total.different or total.wrong_ok or total.wrong_statuses else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
