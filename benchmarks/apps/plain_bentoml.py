"""P0: the service as BentoML's and Feast's documentation shows it, with default settings."""

from typing import Any

import bentoml

from benchmarks.apps.plain_scoring import PlainScoring


@bentoml.service
class Plain:
    """Sync endpoints, Feast's SDK, scikit-learn."""

    def __init__(self) -> None:
        self._scoring = PlainScoring()

    @bentoml.api  # type: ignore[untyped-decorator]  # bentoml publishes no types for it
    def predict(self, entity_row: dict[str, Any]) -> Any:
        """The score of one entity."""
        return self._scoring.score([entity_row])[0]

    @bentoml.api  # type: ignore[untyped-decorator]  # bentoml publishes no types for it
    def predict_batch(self, entity_rows: list[dict[str, Any]]) -> list[Any]:
        """The scores of many."""
        return self._scoring.score(entity_rows)
