"""The model card of a version: what it is for, its data, its figures with intervals, its limits, and what it is.

The sections follow Mitchell et al., Model Cards for Model Reporting (2019), https://arxiv.org/abs/1810.03993.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mlflow.entities.model_registry import ModelVersion

from contract import ModelContract
from contract.inputs import COUNTED_AT
from scoring.evaluation import Estimate, metrics_of
from training.row_splits.split_rows import HELD_OUT

_WINDOW: Final = {
    "first_cutoff": "the earliest time of rows that it was fitted on",
    "last_cutoff": "the latest time of rows that it was fitted on",
    "labels_until": "when the outcomes of all those rows were known",
    COUNTED_AT: "the earliest time of rows that only tested it; the contract counts inputs and scores on those",
    HELD_OUT: "the share of entities that only tested it, and how they were drawn",
}
"""Key in a contract's `training_window` → what it says."""

MODEL_CARD_PATH: Final = "model_card.md"
"""Artifact of a run."""


@dataclass(frozen=True)
class Card:
    """What a model card says that is in no contract.

    intended_use, limits: of the use case.
    estimates: name of each metric of the test rows, with its population before it → value and interval.
    baseline: its name, between population and metric in `estimates`.
    rows: split → number of rows.
    populations: name → number of its test rows, all rows first.
    """

    intended_use: str
    limits: Sequence[str]
    estimates: Mapping[str, Estimate]
    baseline: str
    rows: Mapping[str, int]
    populations: Mapping[str, int]

    def text(self, contract: ModelContract, version: ModelVersion, verdict: str) -> str:
        """The card as Markdown."""
        parts = [
            f"# {version.name} version {version.version}",
            _answer(contract),
            "## Intended use",
            self.intended_use or "The use case says nothing: give it `intended_use`.",
            "## Data",
            "\n".join(self._data(contract, version)),
            "## Figures",
            self._intro(contract),
            *(self._table(contract, population) for population in self.populations),
            "## Limits",
            "\n".join(f"- {limit}" for limit in [*self.limits, *_limits(contract)]),
            "## Identity",
            "\n".join(f"- {name}: {value}" for name, value in _identity(contract, version, verdict).items()),
        ]
        return "\n\n".join(parts) + "\n"

    def _data(self, contract: ModelContract, version: ModelVersion) -> Iterator[str]:
        schema = contract.feature_schema
        yield f"- Features: feature service `{schema.feature_service}` of Feast's project `{schema.project}`,"
        yield "  joined as of each row's own time."
        yield f"- Rows: {', '.join(f'{count:,} {split}' for split, count in self.rows.items())}."
        for name, value in contract.training_window.items():
            yield f"- {name}: {value}" + (f" ({_WINDOW[name]})" if name in _WINDOW else "")
        yield f"- Fitted on rows with the digest `{contract.data_fingerprint}`."
        told = version.tags.get("features_sha256")
        yield (
            f"- `make retrain` tells new data by the digest `{told}`."
            if told
            else "- Others fill the features' sources."
        )

    def _intro(self, contract: ModelContract) -> str:
        population, metric = contract.headline.population, contract.headline.metric
        return (
            "Of the test rows, which were used for nothing else. Intervals are 95 %, by bootstrap over entities. "
            f"Versions are compared by {metric} of the population `{population}`."
        )

    def _table(self, contract: ModelContract, population: str) -> str:
        metrics = metrics_of(contract.task.kind)
        lines = [
            f"Population `{population}`, {self.populations[population]:,} rows:",
            "",
            f"| metric | model | {self.baseline} only |",
            "|---|---|---|",
        ]
        for name, metric in {**metrics.metrics, **metrics.levels}.items():
            if (found := self.estimates.get(f"{population}_{name}")) is None:
                continue
            beside = self.estimates.get(f"{population}_{self.baseline}_{name}")
            lines.append(f"| {metric.title} | {_figure(found)} | {_figure(beside) if beside else '–'} |")
        return "\n".join(lines)


def description(card: Card, contract: ModelContract, version: ModelVersion, verdict: str) -> str:
    """What MLflow's page of the version says; the whole card is an artifact of its run."""
    headline = contract.headline
    found = card.estimates[f"{headline.population}_{headline.metric}"]
    beside = card.estimates.get(f"{headline.population}_{card.baseline}_{headline.metric}")
    against = f"; {card.baseline} only: {_figure(beside)}" if beside else ""
    parts = [
        _answer(contract),
        card.intended_use,
        f"**{headline.metric}**, population `{headline.population}`: {_figure(found)}{against}.",
        "\n".join(f"- {name}: {value}" for name, value in _identity(contract, version, verdict).items()),
        f"The model card is `{MODEL_CARD_PATH}` of the run.",
    ]
    return "\n\n".join(part for part in parts if part)


def _answer(contract: ModelContract) -> str:
    keys = " and ".join(f"`{key.join_key}`" for key in contract.feature_schema.entity_keys)
    members = " and ".join(f"`{output.name}`" for output in contract.outputs)
    target = f": {contract.label.definition}" if contract.label and contract.label.definition else ""
    return f"Answers {keys} with {members}, a {contract.task.kind} task{target}."


def _limits(contract: ModelContract) -> Iterator[str]:
    if contract.label_days is not None:
        yield f"What it predicts is known {contract.label_days} days later; figures are older than that by as much."
    for view in contract.feature_schema.views:
        if view.ttl_seconds:
            yield f"Rows of `{view.name}` count for {view.ttl_seconds / 3600:g} hours; after that the contract decides."
    refused = [given.name for given in contract.inputs if "refuse" in (given.on_missing, given.on_stale)]
    if refused:
        yield f"Without a value of {', '.join(f'`{name}`' for name in refused)} there is no answer."
    yield "It sees no more than the features that are listed in its contract."


def _identity(contract: ModelContract, version: ModelVersion, verdict: str) -> dict[str, str]:
    return {
        "contract sha256": f"`{contract.sha256}`",
        "feature service": f"`{contract.feature_service}`, sha256 `{contract.feature_schema.sha256}`",
        "run": f"`{contract.run_id}`",
        "commit": f"`{version.tags.get('git_commit', 'unknown')}`",
        "gate": verdict,
        "libraries": ", ".join(f"{name} {number}" for name, number in sorted(contract.library_versions.items())),
    }


def _figure(found: Estimate) -> str:
    return f"{found.value:.4g} [{found.low:.4g}, {found.high:.4g}]"
