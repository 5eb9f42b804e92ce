"""The explainer of a stored model: loaded late, once, and only if the pipeline is what was imported."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import skops.io
from sklearn.pipeline import Pipeline

from scoring.errors import ExplanationError
from scoring.explanation import Explainer
from service.errors import NotExplainableError, ServiceError
from service.prediction.lazy_explainer import LazyExplainer
from tests.models.fakes import ORDERS, Stored, small_contract, store_model, training_rows
from tests.unit.scoring.explanation.test_binary import NAMES, ROWS, fitted, float32, linear, probability, trees
from tests.unit.scoring.models.test_imported_model import Bomb, skops_that_calls_mkdir


def lazy(stored: Stored) -> LazyExplainer:
    return LazyExplainer(stored.load())


ROW = float32(training_rows(rows=1)[0])


@pytest.mark.parametrize("kind", [linear, trees])
@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
def test_a_stored_model_explains_what_it_serves(tmp_path: Path, kind: Callable[[], Pipeline], runtime: str) -> None:
    model = store_model(tmp_path, small_contract(), fitted(kind), runtime).load()
    rows = float32(training_rows(seed=6)[0])

    found = LazyExplainer(model).explain(rows)

    total = found.base_value + found.contributions.sum(axis=1)
    np.testing.assert_allclose(probability(total), model.score(rows), rtol=0, atol=1e-6)


def test_calls_at_the_same_time_load_the_pipeline_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = lazy(store_model(tmp_path, small_contract()))
    loads = Mock(wraps=skops.io.loads)
    monkeypatch.setattr(skops.io, "loads", loads)

    with ThreadPoolExecutor(4) as threads:
        found = [f.result().contributions for f in [threads.submit(explainer.explain, ROW) for _ in range(12)]]

    assert 1 == loads.call_count
    assert all(np.array_equal(found[0], other) for other in found)


def test_starting_does_not_load_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skops.io, "loads", lambda *_, **__: pytest.fail("loaded"))

    lazy(store_model(tmp_path, small_contract()))


def test_a_model_imported_without_its_pipeline_serves_and_says_how_to_get_explanations(tmp_path: Path) -> None:
    stored = store_model(tmp_path, small_contract())
    (tmp_path / "model.skops").unlink()
    metadata = {key: value for key, value in stored.metadata.items() if key != "pipeline_sha256"}
    model = Stored(tmp_path, stored.labels, metadata).load()

    assert (1,) == model.score(ROW).shape
    with pytest.raises(NotExplainableError, match=r"small_churn:v7 .* run `make import-model`"):
        LazyExplainer(model).explain(ROW)


def test_a_pipeline_that_was_altered_after_the_start_is_never_loaded(tmp_path: Path) -> None:
    explainer = lazy(store_model(tmp_path, small_contract()))
    (tmp_path / "model.skops").write_bytes(skops.io.dumps(fitted(trees)))

    with pytest.raises(NotExplainableError, match=r"model\.skops was altered"):
        explainer.explain(ROW)


def test_a_pipeline_that_vanished_after_the_start_is_named(tmp_path: Path) -> None:
    explainer = lazy(store_model(tmp_path, small_contract()))
    (tmp_path / "model.skops").unlink()

    with pytest.raises(NotExplainableError, match=r"model\.skops is missing"):
        explainer.explain(ROW)


def test_a_refusal_stands_until_the_next_start(tmp_path: Path) -> None:
    stored = store_model(tmp_path, small_contract())
    whole = (tmp_path / "model.skops").read_bytes()
    explainer = lazy(stored)
    (tmp_path / "model.skops").write_bytes(whole[:-1])
    with pytest.raises(NotExplainableError):
        explainer.explain(ROW)
    (tmp_path / "model.skops").write_bytes(whole)

    with pytest.raises(NotExplainableError, match="altered"):
        explainer.explain(ROW)
    assert (1, len(NAMES)) == lazy(stored).explain(ROW).contributions.shape


def with_pipeline(stored: Stored, pipeline: bytes) -> Stored:
    """The same model with a pipeline whose hash is in order, whatever it holds."""
    (stored.folder / "model.skops").write_bytes(pipeline)
    return Stored(
        stored.folder, stored.labels, stored.metadata | {"pipeline_sha256": hashlib.sha256(pipeline).hexdigest()}
    )


def test_a_pipeline_with_a_foreign_type_is_refused_although_its_hash_matches(tmp_path: Path) -> None:
    crater = tmp_path / "crater"
    stored = with_pipeline(store_model(tmp_path / "m", small_contract()), skops_that_calls_mkdir(crater))

    with pytest.raises(NotExplainableError, match=r"allow-list.*mkdir"):
        lazy(stored).explain(ROW)

    assert not crater.exists()


def test_a_type_of_our_own_in_the_pipeline_is_refused_by_name(tmp_path: Path) -> None:
    stored = with_pipeline(store_model(tmp_path, small_contract()), skops.io.dumps(Bomb(tmp_path)))

    with pytest.raises(NotExplainableError, match=r"allow-list.*test_imported_model\.Bomb"):
        lazy(stored).explain(ROW)


def test_a_file_that_is_no_pipeline_is_refused_by_name(tmp_path: Path) -> None:
    stored = with_pipeline(store_model(tmp_path, small_contract()), b"not a pipeline")

    with pytest.raises(NotExplainableError, match=r"model\.skops cannot be loaded"):
        lazy(stored).explain(ROW)


def test_a_pipeline_of_a_model_with_other_inputs_is_refused(tmp_path: Path) -> None:
    rows, churned = training_rows(rows=ROWS)
    other = trees().fit(rows.rename(columns={ORDERS: "another"}), churned)
    stored = with_pipeline(store_model(tmp_path, small_contract()), skops.io.dumps(other))

    with pytest.raises(NotExplainableError, match="inputs"):
        lazy(stored).explain(ROW)


def test_a_row_that_cannot_be_explained_is_refused_and_the_next_one_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = lazy(store_model(tmp_path, small_contract()))

    with monkeypatch.context() as patch:
        patch.setattr(Explainer, "explain", Mock(side_effect=ExplanationError("it overflows")))
        with pytest.raises(NotExplainableError, match="overflows"):
            explainer.explain(ROW)
    explainer.explain(ROW)


def test_the_client_is_told_that_this_is_not_implemented_for_the_model() -> None:
    error = NotExplainableError("why")

    assert isinstance(error, ServiceError)
    assert (501, "not_explainable") == (error.status, error.code)
