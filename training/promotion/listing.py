"""Lists the versions of a model with aliases, verdicts and metrics, and its ledger, as text."""

from collections.abc import Mapping
from datetime import UTC, datetime

from mlflow.entities.model_registry import ModelVersion

from artefacts.local_pin import challenging, pinned
from artefacts.model_tag import tag_prefix
from artefacts.process.printable import printable
from artefacts.process.redaction import redacted
from artefacts.process.tables import table_lines
from contract.model_contract import EVERYONE
from scoring.evaluation import TaskKind, metrics_of
from training.gate.rules import recorded_verdict
from training.promotion.judgement import AGAINST_CHAMPION
from training.promotion.ledger import Chain, Recorded
from training.promotion.registry_moves import OpenedRegistry
from training.tracking import registry
from training.tracking.registry import CHAMPION, LABEL_DAYS
from training.use_case_folder import current_use_case


def _metrics() -> tuple[str, ...]:
    """The run's metrics that the table shows: the headline, the task's first two of all rows, and the calibration."""
    case = current_use_case()
    task = metrics_of(case.task.kind)
    population, headline = case.judged_by
    all_rows = dict.fromkeys([headline, *_SHOWN[task.kind], task.calibration.name])
    return tuple(dict.fromkeys([f"{population}_{headline}", *(f"{EVERYONE}_{name}" for name in all_rows)]))


_SHOWN: Mapping[TaskKind, tuple[str, ...]] = {"binary": ("brier",), "multiclass": ("accuracy",), "regression": ("r2",)}
"""Metrics of all rows that the table of versions shows beside the headline and the calibration."""


def models(opened: OpenedRegistry) -> str:
    """The table that `make models` prints, newest version first."""
    aliases = registry.aliases_of(opened.client, opened.name)
    versions = registry.versions_of(opened.client, opened.name)
    if not versions:
        return f"no version of {opened.name!r} is registered in {redacted(opened.artefacts.mlflow_tracking_uri)}"
    shown = _metrics()
    header = ["version", "alias", "created (UTC)", "label", "gate", *shown, "here"]
    rows = [header, *(_row(opened, version, aliases, shown) for version in versions)]
    chain = opened.ledger.read()
    return "\n".join([*table_lines(rows), "", f"ledger {opened.ledger.name}", *_ledger(chain, aliases.get(CHAMPION))])


def _row(opened: OpenedRegistry, version: ModelVersion, aliases: dict[str, str], shown: tuple[str, ...]) -> list[str]:
    number = str(version.version)
    run = opened.client.get_run(str(version.run_id)).data if version.run_id else None
    metrics = run.metrics if run else {}
    days = version.tags.get(LABEL_DAYS) or (run.params.get(LABEL_DAYS) if run else None)
    gate = _short(recorded_verdict(version))
    against = version.tags.get(AGAINST_CHAMPION)
    return [
        number,
        " ".join(sorted(alias for alias, to in aliases.items() if to == number)),
        f"{datetime.fromtimestamp(version.creation_timestamp / 1000, UTC):%Y-%m-%d %H:%M}",
        f"{days} days" if days else "",
        gate if against is None else f"{gate}; {_short(against)}",
        *(f"{metrics[name]:.4f}" if name in metrics else "" for name in shown),
        _here(opened, number),
    ]


def _here(opened: OpenedRegistry, number: str) -> str:
    """The version's part on this machine: pinned, shadow, canary; empty without one."""
    second, of_version = challenging(opened.artefacts), tag_prefix(opened.name, str(number))
    said = ["pinned"] if pinned(opened.artefacts).startswith(of_version) else []
    if str(second.get("tag", "")).startswith(of_version):
        said.append(str(second.get("mode")))
    return ", ".join(said)


def _ledger(chain: Chain, champion: str | None) -> list[str]:
    if not chain.recorded:
        return ["  no entries: nothing was moved since there is a ledger"]
    rows = [["entry", "at (UTC)", "move", "alias", "from → to", "who", "why"], *(_entry(r) for r in chain.recorded)]
    lines = [f"  {line}" for line in table_lines(rows)]
    last = chain.last(CHAMPION)
    if last is not None and last.entry.to_version != champion:
        lines.append(
            f"  warning: the alias {CHAMPION} is at {champion or 'no version'}, entry {last.number} says otherwise"
        )
    lines += [f"  warning: the chain breaks: {broken}" for broken in chain.breaks]
    if not chain.breaks:
        lines.append(f"  the chain is whole; its head is {chain.head}")
    return lines


def _entry(recorded: Recorded) -> list[str]:
    entry = recorded.entry
    why = entry.why
    if entry.forced:
        why = f"FORCED: {why} (objections: {'; '.join(entry.evidence.get('objections', []))})"
    if entry.restores is not None:
        why = f"restores entry {entry.restores}: {why}"
    if recorded.behind is not None:
        why = f"not made, entry {recorded.behind} came first: {why}"
    return [
        str(recorded.number),
        f"{entry.at:%Y-%m-%d %H:%M}",
        entry.move,
        entry.alias or "",
        f"{entry.from_version or '–'} → {entry.to_version or '–'}",
        _short(entry.who),
        _short(why, 160),
    ]


def _short(text: str, most: int = 60) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"
