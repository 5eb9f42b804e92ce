"""Training from rows to a registered version, on a few made-up customers."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from artefacts.cutoffs import Cutoffs
from contract import ModelContract
from contract.inputs import COUNTED_AT
from contract.values.histogram import Histogram
from tests.integration.training.conftest import NAME, Registry, customers
from training import splits
from training.data.dataset import LabelledRows
from training.data.feature_service import built_from
from training.row_splits import time_splits
from training.row_splits.split_rows import Part
from training.tracking.registry import FEATURES_SHA256, download
from training.train import train_version

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def build(models: Registry, definition: str) -> str:
    """A build of the features comes in place; what it says it is made of."""
    file = models.opened.artefacts.offline_store / "current" / "build.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"source": "x", "observed_until": "y", "days": {}, "definition": definition}))
    return built_from(models.opened.artefacts)


def with_made_up_rows(models: Registry, contract: ModelContract, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training reads made-up customers at three cut-offs."""
    schema = contract.feature_schema
    names = [feature.name for feature in schema.features]

    class Data:
        """Rows as the point-in-time join gives them; with the last of them comes another build."""

        def __init__(self, *_: object) -> None:
            self.schema, self.entity = schema, "customer"

        def view_ages(self, entities: pd.DataFrame) -> dict[str, "np.ndarray[Any, np.dtype[np.float64]]"]:
            return {"customer_lifetime": np.arange(len(entities), dtype=np.float64)}

        def rows(self, parts: Sequence[Part], _task: object) -> LabelledRows:
            times = [part.cutoff for part in parts if part.cutoff is not None]
            build(models, f"newer than {times[0]}")
            matrix, churned = customers(names, seed=times[0].month)
            ids = pd.DataFrame({"customer_id": [str(n) for n in range(len(matrix))], "event_timestamp": times[0]})
            return LabelledRows(ids, matrix.astype(np.float64), churned, {"same_day": churned})

    cutoffs = Cutoffs((NOW - timedelta(days=270),), NOW - timedelta(days=180), NOW - timedelta(days=90))
    monkeypatch.setattr(splits, "TrainingData", Data)
    monkeypatch.setattr(time_splits, "cutoffs_of", lambda *_: cutoffs)
    monkeypatch.setattr(time_splits, "parts_at", lambda _, times, *__: [Part(pd.DataFrame(), at) for at in times])


def test_a_build_that_comes_while_a_model_is_trained_is_still_new_data(
    models: Registry, contract: ModelContract, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_made_up_rows(models, contract, monkeypatch)
    was_built = build(models, "before")

    version = train_version(models.opened.client, models.opened.artefacts, models.opened.settings)

    assert was_built == version.tags[FEATURES_SHA256] != built_from(models.opened.artefacts)
    assert NAME == version.name
    parameters = models.opened.client.get_run(str(version.run_id)).data.params
    assert (str(models.opened.settings.seed), False) == (parameters["seed"], "log_format" in parameters)
    assert_counted_at_the_test_cutoff(download(version, tmp_path).contract)


def assert_counted_at_the_test_cutoff(contract: ModelContract) -> None:
    """Inputs and scores are counted on the same rows, which no candidate was fitted on."""
    cutoff = NOW - timedelta(days=90)
    matrix, _ = customers(contract.feature_names, seed=cutoff.month)
    assert cutoff.isoformat() == contract.training_window[COUNTED_AT]
    assert isinstance(contract.scores, Histogram)
    assert len(matrix) == contract.scores.all_counts.sum()
    for given in contract.inputs:
        assert Histogram.of(matrix[given.name]) == given.distribution.histogram
