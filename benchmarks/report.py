"""Writes docs/performance.md and the generated tables of other pages from the results. All but `write` is pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artefacts.addresses import PROJECT_ROOT
from benchmarks.generated_parts import generated_parts
from benchmarks.jobs.report import FIGURE as JOBS_FIGURE
from benchmarks.jobs.report import jobs_section
from benchmarks.markdown import NOT_MEASURED, machine, number, number_of, prose, table, verdicts, with_spread
from benchmarks.online.types_compared import types_section
from benchmarks.online.width_report import width_section
from benchmarks.results import load_all
from benchmarks.summaries import FEWEST_FOR_P99

PAGE = PROJECT_ROOT / "docs" / "performance.md"
FIGURE = "figures/online.svg"
_BUSY = 0.8
_OTHER = "online_"
"""Of the sections of use cases that are not the default one, see `section_of`."""

_SCENARIOS = {
    "single_1": "single ids, 1 connection",
    "single_32": "single ids, 32 connections",
    "single_half_rate": "single ids, fixed rate, half of the above",
    **{
        f"batch_{rows}_{c}": f"batches of {rows:,}, {c} connection{'s' * (c > 1)}"
        for rows in (10, 100, 1000)
        for c in (1, 4)
    },
}

_HEAD = """# Performance

<!-- Written by `python -m benchmarks report` from benchmarks/results/. Do not edit. -->

```sh
make bench   # every peer below in one run, then this page
make soak    # 200,000 requests through one worker, then this page
make bench-beside   # the inference log and a challenger, with and without, then this page
make bench-width   # reading 10 to 200 features over 1 to 10 views, then this page
make bench-jobs   # features, materialization, batch and stream at three sizes, then this page
```

Run them on a machine that does nothing else. `python -m benchmarks online --seconds 1 --rounds 1` is a short look.
"""

_METHOD = (
    """
    Every peer answers for the same {customers:,} real customers in the same random order, from the same Redis, with
    the same features and the same model `{model}`. Before it is timed, its probabilities must equal the model's, or the
    run stops. One server runs at a time, with one worker, over loopback. {cores} Each number is the median of
    {rounds} round{s} of {seconds:g} s after {warm_up_seconds:g} s of warm-up. A round starts every server anew. Rounds
    are interleaved, so that a slow minute of the machine hits all peers. In brackets: the lowest and the highest round.
    """,
    """
    The load generator (`benchmarks/load/load_generator.py`) is a separate process. It sends prebuilt requests and
    checks that every answer is a 200 with the right number of predictions. *Closed loop*: each connection sends its
    next request after the answer to the last. *Fixed rate*: requests are due at equal intervals, answered or not, and
    latency counts from when a request was due, so it includes waiting in a queue. A p99 needs {fewest} requests per
    round.
    """,
)

_STAGES = """
    Microseconds per request of our service. The ASGI application is driven in-process on the server's core, and each
    function is timed without the timed functions that it calls. Then the same requests go to a running server.
    In-process figures are medians over blocks of requests, those over HTTP are means. With 32 requests at a time,
    stages that wait cannot be separated and count in the last stage, and one read of features serves several requests.
    HTTP adds uvicorn, BentoML's outer middleware, the kernel's loopback and, in elapsed time, the load generator.
    """


def write(results: Path) -> None:
    """Write docs/performance.md with its figures, and the generated parts of the other pages."""
    from benchmarks.jobs.plot import jobs_figure
    from benchmarks.plot import figure

    document = load_all(results)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    if "online" in document:
        figure(document["online"]["peers"], PAGE.parent / FIGURE)
    if "jobs" in document:
        jobs_figure(document["jobs"]["sizes"], PAGE.parent / JOBS_FIGURE)
    PAGE.write_text(page(document), encoding="utf-8")
    written = generated_parts(document)
    for part in written:
        part.write()
    pages = sorted({PAGE, *(part.page for part in written)})
    print(f"wrote {', '.join(str(each.relative_to(PROJECT_ROOT)) for each in pages)}")


def page(document: Mapping[str, Any]) -> str:
    """docs/performance.md, from all sections of the results."""
    parts = [_HEAD]
    online = document.get("online")
    parts += _online(online) if online else [f"## Targets\n\n{NOT_MEASURED}\n"]
    parts.append(_breakdown(document.get("breakdown")))
    parts.append(_soak(document.get("soak")))
    parts.append(_beside(document.get("beside")))
    parts.append(types_section(document.get("types")))
    parts.append(width_section(document.get("width")))
    parts += [_other_use_case(name, found) for name, found in document.items() if name.startswith(_OTHER)]
    parts.append(jobs_section(document.get("jobs")))
    return "\n".join(parts)


def _online(online: Mapping[str, Any]) -> list[str]:
    return [
        f"## Targets\n\n{verdicts(online['targets'])}\nRatios are taken within each round.\n",
        f"![Predictions per second of every peer]({FIGURE})\n",
        _method(online),
        _peers(online["peers"]),
        _tables(online["peers"]),
        _notes(online["peers"]),
    ]


def _other_use_case(name: str, online: Mapping[str, Any]) -> str:
    title = f"## The same for {name.removeprefix(_OTHER)}\n"
    command = f"`make bench USE_CASE=use_cases/{name.removeprefix(_OTHER)}`, {online['customers']:,} entities."
    tables = _tables(online["peers"]).removeprefix("## Results\n\n")
    return "\n".join([title, prose(command), verdicts(online["targets"]), tables, machine(online)])


def _method(online: Mapping[str, Any]) -> str:
    cores, settings = online["cores"], online["settings"]
    if cores["server"] is None:
        pinned = "Nothing was pinned to a processor core."
    else:
        whom = "the load generator and Redis" if cores["redis_pinned"] else "the load generator"
        pinned = f"The server has core {cores['server']} to itself, {whom} core {cores['load']}."
    figures = {
        **settings,
        "customers": online["customers"],
        "model": online["model"],
        "cores": pinned,
        "s": "" if settings["rounds"] == 1 else "s",
        "fewest": FEWEST_FOR_P99,
    }
    parts = ["## How it is measured\n", *(prose(part.format(**figures)) for part in _METHOD), machine(online)]
    return "\n".join(parts)


def _peers(peers: Mapping[str, Any]) -> str:
    rows = [(name, peer["title"], peer["what"]) for name, peer in peers.items()]
    return "## Peers\n\n" + table(("", "peer", "what it is"), rows, left=3)


def _tables(peers: Mapping[str, Any]) -> str:
    parts = ["## Results\n"]
    for scenario, title in _SCENARIOS.items():
        rows = [_result(name, peer, scenario) for name, peer in peers.items()]
        columns = ("", "requests/s", "predictions/s", "p50 ms", "p90 ms", "p99 ms", "server CPU ms", "errors")
        parts.append(f"### {title[0].upper()}{title[1:]}\n\n{table(columns, rows, left=1)}")
    return "\n".join(parts)


def _result(name: str, peer: Mapping[str, Any], scenario: str) -> tuple[str, ...]:
    found = peer["scenarios"].get(scenario)
    if found is None:
        why = peer["no_batch"] if scenario.startswith("batch") else ""
        return (name, f"n/a: {why or 'not measured'}", *[""] * 6)
    return (
        name,
        with_spread(found["requests_per_second"], 0),
        number(found["predictions_per_second"], 0),
        with_spread(found["p50_ms"], 2),
        number(found["p90_ms"], 2),
        with_spread(found["p99_ms"], 2),
        number(found["server_cpu_ms"], 3),
        str(found["errors"]),
    )


def _notes(peers: Mapping[str, Any]) -> str:
    """Notes for a fair reading of the tables."""
    busy = sorted(
        f"{name}, {_SCENARIOS[scenario]}"
        for name, peer in peers.items()
        for scenario, found in peer["scenarios"].items()
        if max(r["generator_busy"] for r in found["rounds"]) > _BUSY
    )
    late = [
        r["sent_late_p99_ms"]
        for peer in peers.values()
        for r in peer["scenarios"].get("single_half_rate", {}).get("rounds", [])
    ]
    lines = [
        "Server CPU is processor time of the server's processes per request, warm-up included; Redis is not in it.",
        "P2 looks nothing up: its clients send finished features. P3 and F make no prediction. P0 and P1 do not detect "
        "stale or missing features, and L checks nothing.",
    ]
    if late:
        lines.append(
            f"At a fixed rate the generator itself was up to {max(late):.2f} ms late (p99), which counts as latency."
        )
    lines += [
        f"{name}, {_SCENARIOS[scenario]}: {found['errors']} errors, the first: `{first}`."
        for name, peer in peers.items()
        for scenario, found in peer["scenarios"].items()
        if (first := next((r["first_error"] for r in found["rounds"] if r["errors"]), ""))
    ]
    if busy:
        lines.append(f"The load generator was the limit of: {'; '.join(busy)}.")
    return "".join(prose(f"- {line}").replace("\n", "\n  ").rstrip(" ") for line in lines)


def _breakdown(found: Mapping[str, Any] | None) -> str:
    title = "## Where one request's time goes\n"
    if found is None:
        return f"{title}\n{NOT_MEASURED}\n"
    cases = found["in_process"]
    stages = list(dict.fromkeys(stage for case in cases for stage in case["stages_us"]))
    # The remainder comes last, whichever stages each case has.
    stages.sort(key=lambda stage: stage == list(cases[0]["stages_us"])[-1])
    rows = [(stage, *(number_of(case["stages_us"].get(stage)) for case in cases)) for stage in stages]
    rows.append(("**the application, measured by stages**", *(number_of(case["instrumented_us"]) for case in cases)))
    rows.append(("the application, without timing its stages", *(number_of(case["total_us"]) for case in cases)))
    rows.append(("… its processor time", *(number_of(case["cpu_us"]) for case in cases)))
    wire = found["wire"]
    rows.append(("the same over HTTP", *(number_of(1e6 / wire[c["case"]]["requests_per_second"]) for c in cases)))
    rows.append(("… processor time of the server", *(number_of(wire[c["case"]]["server_cpu_ms"] * 1e3) for c in cases)))
    return "\n".join(
        [
            title,
            prose(_STAGES),
            table(("stage", *(case["case"] for case in cases)), rows, left=1),
            machine(found),
        ]
    )


def _beside(found: Mapping[str, Any] | None) -> str:
    title = "## Inference log and challenger\n"
    if found is None:
        return f"{title}\n{NOT_MEASURED}\n"
    columns = {
        "single_32": "32 connections, requests/s",
        "batch_100_4": "batches of 100, 4 connections, requests/s",
    }
    rows = [
        (name, variant["what"], *(with_spread(variant["scenarios"][s]["requests_per_second"], 0) for s in columns))
        for name, variant in found["variants"].items()
    ]
    return "\n".join(
        [
            title,
            prose("`make bench-beside`: the same service, one variant at a time, rounds interleaved."),
            verdicts(found["targets"]),
            table(("", "", *columns.values()), rows, left=2),
            machine(found),
        ]
    )


def _soak(found: Mapping[str, Any] | None) -> str:
    title = "## Soak\n"
    if found is None:
        return f"{title}\n{NOT_MEASURED}\n"
    windows = found["windows"]
    rows = [
        (
            f"{w['requests_so_far']:,}",
            f"{w['rss_mb']:.1f}",
            f"{w['requests_per_second']:,.0f}",
            f"{w['p50_ms']:.2f}",
            f"{w['p99_ms']:.2f}",
            str(w["errors"]),
        )
        for w in windows
    ]
    first_errors = [w["first_error"] for w in windows if w["errors"]]
    errors = f"{found['errors']} errors, the first: `{first_errors[0]}`." if first_errors else "No errors."
    return "\n".join(
        [
            title,
            prose(
                f"{windows[-1]['requests_so_far']:,} single requests over {found['connections']} connections to one "
                f"worker; the first {found['warm_up_windows']} windows are warm-up. {errors}"
            ),
            verdicts(found["targets"]),
            table(("requests", "worker RSS MB", "requests/s", "p50 ms", "p99 ms", "errors"), rows, left=0),
            machine(found),
        ]
    )
