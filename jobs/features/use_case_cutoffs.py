"""The cut-offs of the use case that the environment names: training needs a snapshot at each."""

from typing import Any

from artefacts.cutoffs import CutoffSettings
from jobs.use_case import use_case


def use_case_cutoffs() -> CutoffSettings:
    """The use case's splits, where no variable sets something else.

    Raises:
        JobError: the use case cannot be loaded.
    """
    are_set = CutoffSettings().model_fields_set
    said: dict[str, Any] = dict(use_case().splits.settings)
    return CutoffSettings(**{name: value for name, value in said.items() if name not in are_set})
