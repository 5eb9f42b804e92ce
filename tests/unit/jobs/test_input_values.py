"""Values of inputs as people read them."""

import pytest

from contract import FeatureInput
from jobs.inference_log.input_values import in_words, told
from tests.models.typed import BALANCE, REGION, SEGMENT, SIGNED_UP, typed_contract


def an_input(name: str) -> FeatureInput:
    return next(given for given in typed_contract().inputs if given.name == name)


@pytest.mark.parametrize(
    ("name", "value", "words", "in_json"),
    [
        (SEGMENT, 2.0, '"student"', "student"),
        (SEGMENT, -1.0, "unseen", "__unseen__"),
        (SEGMENT, -2.0, "null", None),
        (REGION, 1.0, "20", 20),
        (BALANCE, 12.5, "12.5", 12.5),
        (BALANCE, -2.0, "-2", -2.0),
        (BALANCE, float("nan"), "null", None),
        (SIGNED_UP, 90_000.0, "90000 (1 day, 1:00:00)", 90_000.0),
    ],
)
def test_categories_are_told_by_their_text_and_nulls_as_such(
    name: str, value: float, words: str, in_json: object
) -> None:
    assert words == in_words(value, an_input(name))
    assert in_json == told(value, an_input(name))
