"""P0: the service as BentoML's and Feast's documentation shows it, with default settings."""

import bentoml

from benchmarks.apps.plain_scoring import PlainScoring


@bentoml.service
class PlainChurn:
    """Sync endpoints, Feast's SDK, scikit-learn."""

    def __init__(self) -> None:
        self._scoring = PlainScoring()

    @bentoml.api  # type: ignore[untyped-decorator]  # bentoml publishes no types for it
    def predict(self, customer_id: str) -> float:
        """The probability of one customer."""
        return self._scoring.score([customer_id])[0]

    @bentoml.api  # type: ignore[untyped-decorator]  # bentoml publishes no types for it
    def predict_batch(self, customer_ids: list[str]) -> list[float]:
        """The probabilities of many."""
        return self._scoring.score(customer_ids)
