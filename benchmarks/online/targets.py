"""Targets of the service, and whether they are met. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Rounds = Mapping[str, Mapping[str, Any]]
"""Measurements of one round, by `peer/scenario`."""


@dataclass(frozen=True)
class Target:
    """A figure of one round with a lower or upper limit.

    value: computes it; None if a measurement is missing.
    """

    name: str
    relation: Literal[">=", "<="]
    limit: float
    value: Callable[[Rounds], float | None]
    unit: str = "×"

    def verdict(self, rounds: list[Rounds]) -> dict[str, Any]:
        """The median over the rounds, and whether it meets the limit; a round compares figures of the same minutes."""
        values = [value for value in map(self.value, rounds) if value is not None]
        median = float(np.median(values)) if len(values) == len(rounds) and values else None
        met = median is not None and (median >= self.limit if self.relation == ">=" else median <= self.limit)
        return {
            "name": self.name,
            "relation": self.relation,
            "limit": self.limit,
            "unit": self.unit,
            "median": median,
            "low": min(values) if median is not None else None,
            "high": max(values) if median is not None else None,
            "met": met,
        }


def _ratio(figure: str, scenario: str, peer: str, of: str = "ours") -> Callable[[Rounds], float | None]:
    def value(measured: Rounds) -> float | None:
        ours = measured.get(f"{of}/{scenario}", {}).get(figure)
        theirs = measured.get(f"{peer}/{scenario}", {}).get(figure)
        return None if ours is None or not theirs else float(ours / theirs)

    return value


def _p99_over_p50(measured: Rounds) -> float | None:
    one = measured.get("ours/single_1", {})
    return None if one.get("p99_ms") is None else float(one["p99_ms"] / one["p50_ms"])


def _p99_at_half_rate(measured: Rounds) -> float | None:
    p99 = measured.get("ours/single_half_rate", {}).get("p99_ms")
    return None if p99 is None else float(p99)


TARGETS = (
    Target("32 connections, requests/s: ours ÷ P0", ">=", 10, _ratio("requests_per_second", "single_32", "P0")),
    Target("32 connections, requests/s: ours ÷ F", ">=", 0.8, _ratio("requests_per_second", "single_32", "F")),
    Target("1 connection, p50: ours ÷ F", "<=", 1.4, _ratio("p50_ms", "single_1", "F")),
    Target("1 connection: p99 ÷ p50 of ours", "<=", 5, _p99_over_p50),
    Target("half of capacity, fixed rate: p99 of ours", "<=", 10, _p99_at_half_rate, "ms"),
    *(
        Target(
            f"batches of {rows:,}, {connections} connection{'s' * (connections > 1)}, predictions/s: ours ÷ {peer}",
            ">=",
            limit,
            _ratio("predictions_per_second", f"batch_{rows}_{connections}", peer),
        )
        for rows in (100, 1000)
        for connections in (1, 4)
        for peer, limit in (("P0", 5.0), ("L", 1.0))
    ),
)


LOG_AND_CHALLENGER = (
    Target(
        "inference log, 32 connections, requests/s: with ÷ without",
        ">=",
        0.95,
        _ratio("requests_per_second", "single_32", "ours", of="log"),
    ),
    Target(
        "challenger in shadow, 32 connections, requests/s: with ÷ without",
        ">=",
        0.9,
        _ratio("requests_per_second", "single_32", "ours", of="shadow"),
    ),
)
"""Targets for the cost of the inference log and a challenger."""


WIDTH = tuple(
    Target(
        f"200 inputs over {views} view{'s' * (views > 1)}, {rows} entit{'ies' if rows > 1 else 'y'}: SDK ÷ ours",
        ">=",
        10,
        _ratio("us", f"200_{views}_{rows}", "ours", of="sdk"),
    )
    for views in (1, 5, 10)
    for rows in (1, 100)
)
"""Targets for reading many features."""


def width_verdicts(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Check `WIDTH` against the cases of `benchmarks.online.width`."""
    rounds: list[dict[str, Any]] = [{} for _ in cases[0]["rounds"]]
    for case in cases:
        scenario = f"{case['inputs']}_{case['views']}_{case['rows']}"
        for found, measured in zip(rounds, case["rounds"], strict=True):
            found.update({f"{name}/{scenario}": {"us": microseconds} for name, microseconds in measured.items()})
    return [target.verdict(list(rounds)) for target in WIDTH]


TYPES = (
    Target(
        "households, 32 connections, requests/s: ours ÷ plain",
        ">=",
        10,
        _ratio("requests_per_second", "single_32", "plain", of="households"),
    ),
    Target("1 connection, p50: households ÷ churn", "<=", 1.5, _ratio("p50_ms", "single_1", "churn", of="households")),
)
"""Targets for a model with categories and nulls."""


def types_verdicts(contenders: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Check `TYPES` against the measurements of all contenders."""
    return _verdicts(TYPES, contenders)


def verdicts(peers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Check every target against the measurements of all peers, as in `online.json`."""
    return _verdicts(TARGETS, peers)


def beside_verdicts(variants: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Check `LOG_AND_CHALLENGER` against the measurements of all variants."""
    return _verdicts(LOG_AND_CHALLENGER, variants)


def _verdicts(targets: tuple[Target, ...], peers: Mapping[str, Any]) -> list[dict[str, Any]]:
    rounds: list[dict[str, Any]] = []
    for peer, measured in peers.items():
        for scenario, result in measured["scenarios"].items():
            for number, figures in enumerate(result["rounds"]):
                while len(rounds) <= number:
                    rounds.append({})
                rounds[number][f"{peer}/{scenario}"] = figures
    return [target.verdict(list(rounds)) for target in targets]


def soak_verdicts(mb_per_10000: float, p50_ratio: float, p99_ratio: float) -> list[dict[str, Any]]:
    """Check that memory and latency do not grow after the warm-up."""
    measured = (
        Target("memory per 10,000 requests after the warm-up", "<=", 1.0, lambda _: mb_per_10000, "MB"),
        Target("p50: last quarter ÷ first quarter after the warm-up", "<=", 1.2, lambda _: p50_ratio),
        Target("p99: last quarter ÷ first quarter after the warm-up", "<=", 1.5, lambda _: p99_ratio),
    )
    return [target.verdict([{}]) for target in measured]
