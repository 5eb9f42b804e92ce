"""Quotas of API keys: how they are written, and what a bucket gives."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.api.quotas import Quota, Quotas, parse_quotas
from service.errors import QuotaExceededError, RequestTooLargeError, StartupError
from service.telemetry.metrics import ServiceMetrics


class Clock:
    """Seconds that a test turns on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Opened:
    """Quotas of one worker, with its metrics."""

    def __init__(self, text: str, clock: Clock, folder: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self.metrics = ServiceMetrics("small_churn", self.registry)
        self.quotas = Quotas(parse_quotas(text), self.metrics.quotas, folder, clock)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"model_service_{name}", {"model": "small_churn", **labels})

    def taken(self, client: str, times: int) -> int:
        """How many of so many requests are taken."""
        taken = 0
        for _ in range(times):
            try:
                self.quotas.take_request(client)
                taken += 1
            except QuotaExceededError:
                pass
        return taken


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_quotas_are_written_by_the_name_of_the_key() -> None:
    assert {
        "shop": Quota(600, 60_000),
        "re.ports-1": Quota(60, None),
        "*": Quota(None, 1000),
    } == parse_quotas("shop=600/60000, re.ports-1=60/-\n*=-/1000")
    assert {} == parse_quotas("  ")


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("shop", 1),
        ("shop=600", 1),
        ("shop=600/60/6", 1),
        ("a=1/1 Shop=1/1", 2),
        ("shop=0/1", 1),
        ("shop=01/1", 1),
        ("shop=-1/1", 1),
        ("shop=1.5/1", 1),
        ("shop=1/1000000000", 1),
        ("shop=1/1,shop=2/2", 2),
        ("*=1/1 *=1/1", 2),
    ],
)
def test_an_entry_that_is_none_is_named_by_its_place(text: str, entry: int) -> None:
    with pytest.raises(StartupError, match=f"SERVICE_QUOTAS, entry {entry}: "):
        parse_quotas(text)


def test_a_minutes_quota_can_be_used_at_once_and_comes_back_evenly(clock: Clock) -> None:
    one = Opened("shop=6/-", clock)

    assert 6 == one.taken("shop", 8)
    clock.now += 9.9
    assert 0 == one.taken("shop", 1)
    clock.now += 0.1
    assert 1 == one.taken("shop", 2)
    clock.now += 3600
    assert 6 == one.taken("shop", 8)


def test_a_refusal_says_in_whole_seconds_when_it_fits(clock: Clock) -> None:
    one = Opened("shop=-/60", clock)
    one.quotas.take_rows("shop", 50)

    with pytest.raises(QuotaExceededError, match="the quota of this API key is used up: 60 rows a minute") as refused:
        one.quotas.take_rows("shop", 31)

    assert 21 == refused.value.retry_after_seconds
    clock.now += 20.5
    with pytest.raises(QuotaExceededError) as again:
        one.quotas.take_rows("shop", 31)
    assert 1 == again.value.retry_after_seconds
    clock.now += 1
    one.quotas.take_rows("shop", 31)


def test_what_can_never_fit_is_told_so(clock: Clock) -> None:
    one = Opened("shop=-/60", clock)

    with pytest.raises(RequestTooLargeError, match=r"61 rows are more than the whole quota .*, 60 rows a minute"):
        one.quotas.take_rows("shop", 61)

    one.quotas.take_rows("shop", 60)


def test_each_key_has_its_own_and_every_other_one_that_of_the_star(clock: Clock) -> None:
    one = Opened("shop=5/- *=2/-", clock)

    assert [5, 2, 2] == [one.taken(client, 9) for client in ("shop", "reports", "anonymous")]
    assert 9 == Opened("shop=5/-", clock).taken("reports", 9)


def test_all_workers_of_a_server_share_one_quota(tmp_path: Path, clock: Clock) -> None:
    first, second = [Opened("shop=5/-", clock, tmp_path) for _ in range(2)]

    assert (3, 2) == (first.taken("shop", 3), second.taken("shop", 9))
    assert 0 == first.taken("shop", 1)
    started_later = Opened("shop=5/-", clock, tmp_path)
    assert 0 == started_later.taken("shop", 1)
    clock.now += 12
    assert (1, 0, 0) == (second.taken("shop", 1), first.taken("shop", 1), started_later.taken("shop", 1))


def test_a_folder_that_cannot_be_written_leaves_each_worker_its_own(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    one = Opened("shop=5/-", clock, tmp_path / "gone")

    assert 5 == one.taken("shop", 9)
    assert "this worker counts for itself" in caplog.text


def test_what_was_used_and_refused_is_counted_by_the_name_of_the_key(clock: Clock) -> None:
    one = Opened("shop=2/60", clock)
    one.taken("shop", 3)
    one.quotas.take_rows("shop", 50)
    with pytest.raises(QuotaExceededError):
        one.quotas.take_rows("shop", 20)

    def counted(kind: str, outcome: str) -> float | None:
        return one.metric("quota_total", client="shop", kind=kind, outcome=outcome)

    assert (2, 1, 50, 20) == tuple(
        counted(kind, outcome) for kind in ("requests", "rows") for outcome in ("used", "refused")
    )
    assert (2, 60) == tuple(one.metric("quota_limit", client="shop", kind=kind) for kind in ("requests", "rows"))


def test_a_champion_of_another_name_takes_the_limits_over(clock: Clock) -> None:
    one = Opened("shop=2/-", clock)
    one.taken("shop", 1)

    one.metrics.live({"name": "other", "version": "1", "role": "champion"})

    labels = {"client": "shop", "kind": "requests"}
    assert (0, 2) == (
        one.metric("quota_limit", **labels),
        one.registry.get_sample_value("model_service_quota_limit", {"model": "other", **labels}),
    )


def test_names_without_a_key_are_told(clock: Clock) -> None:
    assert ["shpo"] == Opened("shop=1/1 shpo=1/1 *=1/1 anonymous=1/1", clock).quotas.without_key(["shop", "reports"])
