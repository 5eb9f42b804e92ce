"""The cut-offs of the use case that the environment names: training needs a snapshot at each."""

from typing import Any

from artefacts.cutoffs import CutoffSettings
from jobs.use_case import use_case


def use_case_cutoffs() -> CutoffSettings:
    """The use case's splits, where no variable sets something else.

    Raises:
        JobError: the use case cannot be loaded.
    """
    splits = use_case().splits
    said: dict[str, Any] = {
        "label_days": splits.label_days,
        "training_cutoffs": splits.training,
        "cutoff_spacing_days": splits.spacing_days,
        "request_hours": splits.request_hours,
    }
    are_set = CutoffSettings().model_fields_set
    return CutoffSettings(**{name: value for name, value in said.items() if name not in are_set})
