import re

import pytest

from benchmarks.online.peers import _INVOCATIONS, _NUMBER, _NUMBERS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # bentoml's own, at import
def test_the_no_op_runs_with_the_settings_of_the_service() -> None:
    from benchmarks.apps import noop_bentoml
    from service import service

    ours, noop = (vars(module)[name].config for module, name in ((service, "ModelService"), (noop_bentoml, "Noop")))
    assert noop == ours


def test_a_good_answer_has_as_many_matches_as_rows() -> None:
    assert len(re.findall(_NUMBER.row, b"0.9494771736203563")) == 1
    assert len(re.findall(_NUMBERS.row, b"[0.949, 0.71,1e-05]")) == 3
    assert len(re.findall(_INVOCATIONS["binary"].row, b'{"predictions": [[0.05, 0.95], [1.0, 0.0]]}')) == 2


def test_a_value_below_zero_is_a_good_answer() -> None:
    assert len(re.findall(_NUMBER.row, b"-3.5")) == 1
    assert len(re.findall(_INVOCATIONS["regression"].row, b'{"predictions": [-3.5, 12.0]}')) == 2


def test_an_answer_without_a_probability_has_none() -> None:
    assert not re.findall(_NUMBER.row, b'{"error": 1}')
    assert not re.findall(_INVOCATIONS["regression"].row, b'{"predictions": [null, null]}')
    assert not re.findall(_NUMBERS.row, b"[null, null]")
    assert not re.findall(_INVOCATIONS["binary"].row, b'{"predictions": [null]}')
