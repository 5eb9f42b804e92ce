"""The explainer of a served model, loaded by the first request that needs it."""

import logging
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ExplanationError, MissingFileError, ModelError, UnreadableFileError
from scoring.explanation import Explainer, Explanation
from scoring.models.imported_model import ImportedModel
from scoring.models.model_frame import CodedColumns
from service.errors import ExplainerUnavailableError, NotExplainableError

logger = logging.getLogger(__name__)


class LazyExplainer:
    """The explainer of a served model, made by the first call and kept; calls may come from several threads.

    A service that never explains neither loads the pipeline nor imports scikit-learn.
    """

    def __init__(self, model: ImportedModel) -> None:
        self.model = model
        self._lock = threading.Lock()
        self._explainer: Explainer | None = None
        self._refusal = ""

    def explain(self, matrix: NDArray[np.float32], classes: Sequence[int] | None = None) -> Explanation:
        """See `Explainer.explain`. The first call takes seconds: call it in a thread.

        Raises:
            NotExplainableError: this model or this row cannot be explained.
            ExplainerUnavailableError: the explainer cannot be loaded just now.
        """
        explainer = self.load()
        try:
            return explainer.explain(matrix, classes)
        except ExplanationError as error:
            raise NotExplainableError(str(error), model=self.model.identity) from error

    def load(self) -> Explainer:
        """Load the explainer, once. A model that cannot be explained is not tried again.

        A temporary failure, such as a file that cannot be read, is tried again by the next call.

        Raises:
            NotExplainableError: this model cannot be explained.
            ExplainerUnavailableError: what it needs cannot be read just now.
        """
        with self._lock:
            if self._refusal:
                raise NotExplainableError(self._refusal, model=self.model.identity)
            if self._explainer is None:
                try:
                    self._explainer = self._made()
                except MissingFileError as error:
                    raise NotExplainableError(str(error), model=self.model.identity) from error
                except (UnreadableFileError, OSError, ImportError, MemoryError) as error:
                    logger.warning("the explainer cannot be made, the next request tries again: %s", error)
                    raise ExplainerUnavailableError(
                        "what explanations need cannot be read just now", model=self.model.identity
                    ) from error
                except ModelError as error:
                    self._refusal = str(error)
                    raise NotExplainableError(self._refusal, model=self.model.identity) from error
            return self._explainer

    def _made(self) -> Explainer:
        contract = self.model.contract
        coded = CodedColumns.of(contract.inputs)
        return Explainer.of(self.model.load_pipeline(), contract.feature_names, contract.task.kind, coded)
