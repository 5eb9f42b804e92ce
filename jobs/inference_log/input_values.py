"""What the model saw, as people read it: the texts of categories instead of their codes."""

import json
import math
from datetime import timedelta

from contract import FeatureInput
from contract.values.vocabulary import MISSING_CODE, UNSEEN_CODE, UNSEEN_TEXT, Category


def told(value: float, given: FeatureInput) -> float | Category | None:
    """A value of an input for JSON: a category itself, `__unseen__` where none was known; None for a kept null."""
    if math.isnan(value):
        return None
    if given.vocabulary is None:
        return value
    return {MISSING_CODE: None, UNSEEN_CODE: UNSEEN_TEXT}.get(value) if value < 0 else given.vocabulary[int(value)]


def in_words(value: float, given: FeatureInput) -> str:
    """A value of an input for a line: texts are quoted, which tells them from `unseen` and `null`."""
    found = told(value, given)
    if given.vocabulary is not None and value == UNSEEN_CODE:
        return "unseen"
    if found is None or given.vocabulary is not None:
        return json.dumps(found, ensure_ascii=False)
    return f"{value:.9g}{f' ({timedelta(seconds=round(value))})' if given.kind == 'age' else ''}"
