"""Measures the cost of the inference log and a challenger: the service with and without them, interleaved."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

from artefacts.addresses import Artefacts
from benchmarks.online.peers import Peer, all_peers
from benchmarks.online.peers_compared import SCENARIOS, Bench, bench, figures_of
from benchmarks.online.targets import beside_verdicts
from benchmarks.results import store
from benchmarks.summaries import of_rounds

_MEASURED = ("single_32", "batch_100_4")
_WARM_UP_SECONDS = 1.0
PLAIN, LOG, SHADOW, BOTH, CANARY = "ours", "log", "shadow", "log and shadow", "canary"


def run(seconds: float, rounds: int, output: Path) -> None:
    """Measure and write the results."""
    started = time.monotonic()
    with bench(Artefacts.of(os.environ)) as (ready, about):
        variants = _variants(ready)
        measured: dict[str, dict[str, list[dict[str, object]]]] = {peer.name: {} for peer in variants}
        for number in range(rounds):
            turn = number % len(variants)
            for peer in variants[turn:] + variants[:turn]:
                for name, figures in _measure(ready, peer, seconds).items():
                    measured[peer.name].setdefault(name, []).append(figures)
                    rate = figures["requests_per_second"]
                    print(f"round {number + 1}/{rounds}: {peer.name:15} {name:12} {rate:>9,.0f} requests/s", flush=True)
    document = {
        peer.name: {
            "what": peer.what,
            "scenarios": {name: of_rounds(found) for name, found in measured[peer.name].items()},
        }
        for peer in variants
    }
    settings = {"seconds": seconds, "warm_up_seconds": _WARM_UP_SECONDS, "rounds": rounds}
    took = round(time.monotonic() - started)
    targets = beside_verdicts(document)
    store(
        output,
        "beside",
        {**about, "settings": settings, "took_seconds": took, "variants": document, "targets": targets},
    )


def _variants(ready: Bench) -> list[Peer]:
    ours = all_peers(ready.workload)["ours"]
    log = {"SERVICE_INFERENCE_LOG": "true", "INFERENCE_LOG_DIR": str(ready.folder / "inference_log")}

    def challenger(mode: str, share: float) -> dict[str, str]:
        # The challenger is the champion's own model, so both have the same size.
        file = ready.folder / f"{mode}.json"
        file.write_text(json.dumps({"tag": ready.workload.model_tag, "mode": mode, "share": share}), encoding="utf-8")
        return {"CHALLENGER_PATH": str(file)}

    shadow = challenger("shadow", 0.1)
    variants: dict[str, tuple[str, dict[str, str]]] = {
        PLAIN: ("as `make serve` runs it", {}),
        LOG: ("with `SERVICE_INFERENCE_LOG=true`", log),
        SHADOW: ("with a second model in shadow, not logged", shadow),
        BOTH: ("with the second model in shadow, both logged", {**log, **shadow}),
        CANARY: ("with the second model as a canary for a tenth of the customers", challenger("canary", 0.1)),
    }
    return [
        replace(ours, name=name, what=what, environment={**ours.environment, **environment})
        for name, (what, environment) in variants.items()
    ]


def _measure(ready: Bench, peer: Peer, seconds: float) -> dict[str, dict[str, object]]:
    found = {}
    with ready.serving(peer) as server:
        for scenario in SCENARIOS:
            call = peer.single if scenario.rows == 1 else peer.batch
            if scenario.name in _MEASURED and call is not None:
                plan = ready.plan(server, call, scenario.rows, scenario.connections, seconds, _WARM_UP_SECONDS)
                found[scenario.name] = figures_of(ready, server, plan, scenario.rows)
    return found
