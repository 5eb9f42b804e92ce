"""A service that is told not to be ready once the newest snapshot is too old."""

from pathlib import Path

import redis

from artefacts.newest_snapshot import FIELD, key_of
from tests.loop import Loop
from tests.servers.serving import START_SECONDS, serving, wait_until


def test_an_old_snapshot_ends_readiness_only_where_that_is_wanted_and_answers_stay(loop: Loop, tmp_path: Path) -> None:
    url = (loop.root / "var" / "redis" / "url").read_text().strip()
    with redis.Redis.from_url(url) as client:
        (noted,) = client.hmget(key_of("churn"), [FIELD])
        assert noted is not None
        with serving(loop, tmp_path, SERVICE_MAX_SNAPSHOT_AGE_HOURS="30") as strict:
            try:
                client.hset(key_of("churn"), FIELD, float(noted) - 48 * 3600)
                wait_until(lambda: strict.health() == (503, 200), START_SECONDS)
                assert 200 == strict.call("POST", "/predict", {"customer_id": "00042"}).status
                assert 200 == loop.call("GET", "/readyz").status
                client.hdel(key_of("churn"), FIELD)
                wait_until(lambda: strict.health() == (200, 200), START_SECONDS)
            finally:
                client.hset(key_of("churn"), FIELD, noted)
