import json
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from benchmarks.online.breakdown import STAGES
from benchmarks.online.stage_clock import Stage, StageClock, find


class Ticks:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_stage_is_charged_without_the_stage_inside_it() -> None:
    ticks = Ticks()
    clock = StageClock(ticks)
    for at, step in ((1, "outer"), (3, "inner"), (7, None), (12, None)):
        ticks.now = float(at)
        if step is None:
            clock.leave()
        else:
            clock.enter(step)

    assert clock.seconds == {"outer": 2 + 5, "inner": 4}


@pytest.fixture
def module() -> Iterator[ModuleType]:
    made = ModuleType("made_for_the_stage_clock")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


async def test_wrapped_functions_do_what_they_did_and_are_put_back(module: ModuleType) -> None:
    async def wait(value: int) -> int:
        return value + 1

    def fail() -> None:
        raise KeyError("as before")

    module.wait, module.fail = wait, fail  # type: ignore[attr-defined]
    clock = StageClock()
    stages = [Stage("waiting", (f"{module.__name__}:wait",)), Stage("failing", (f"{module.__name__}:fail",))]

    with clock.around(stages):
        assert await module.wait(1) == 2
        with pytest.raises(KeyError):
            module.fail()

    assert set(clock.seconds) == {"waiting", "failing"}
    assert module.wait is wait
    assert module.fail is fail


@pytest.mark.parametrize("where", [where for stage in STAGES for where in stage.functions])
def test_every_stage_of_the_breakdown_is_a_function_of_the_service(where: str) -> None:
    owner, name = find(where)

    assert callable(getattr(owner, name))


def test_stages_are_named_once() -> None:
    names = [stage.name for stage in STAGES]

    assert json.dumps(sorted(set(names))) == json.dumps(sorted(names))
