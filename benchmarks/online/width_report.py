"""The section of docs/performance.md about reading many features. Pure."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import NOT_MEASURED, machine, number, prose, table, verdicts, with_spread

_TITLE = "## Many features, many views\n"
_METHOD = """
    `make bench-width`: microseconds per read of all features of one entity or of 100, from a Redis of its own: half of
    the features are floats, the others counts, categories, times and flags. *Ours* is the compiled reader: raw values
    of the model's inputs and event times. *SDK* is Feast's `get_online_features_async` without converting its answer.
    *Limit* sends the same `HMGET`s, prepared beforehand, in one write, and decodes nothing. Figures are medians over
    {rounds} rounds, in which the three take turns of {block_seconds:g} s; ratios are taken within each round.
    """


def width_section(found: Mapping[str, Any] | None) -> str:
    """The table of all cases, and whether the targets are met."""
    if found is None:
        return f"{_TITLE}\n{NOT_MEASURED}\n"
    rows = [
        (
            f"{case['inputs']} / {case['views']} / {case['rows']}",
            number(case["ours_us"], 0),
            number(case["sdk_us"], 0),
            number(case["limit_us"], 0),
            number(case["ours_ns_per_feature"], 0),
            with_spread(case["sdk_over_ours"], 1),
            with_spread(case["ours_over_limit"], 1),
        )
        for case in found["cases"]
    ]
    columns = (
        "features / views / entities",
        *("ours µs", "SDK µs", "limit µs", "ours, ns per feature", "SDK ÷ ours", "ours ÷ limit"),
    )
    return "\n".join(
        [
            _TITLE,
            prose(_METHOD.format(**found["settings"])),
            verdicts(found["targets"]),
            table(columns, rows, left=1),
            machine(found),
        ]
    )
