"""What a model predicts: its task, and the named outputs of its answer."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.feature_schema import Frozen

TaskKind = Literal["binary", "multiclass", "regression"]
OutputKind = Literal["probability", "decision", "probabilities", "class", "value"]
ClassName = Annotated[str, Field(min_length=1)]

OUTPUT_KINDS: dict[TaskKind, tuple[OutputKind, ...]] = {
    "binary": ("probability", "decision"),
    "multiclass": ("probabilities", "class"),
    "regression": ("value",),
}
"""Task → kinds of its outputs, in the order of the answer."""

RESERVED_NAMES = frozenset(
    {
        *("status", "feature_issues", "cached_seconds", "request_id", "model"),  # members of every answer
        *("features", "inputs", "rows", "base_value", "contributions", "space", "explained_class"),
        *("row", "as_of", "model_name", "model_version", "model_tag", "contract_sha256"),  # columns of every file
        *("role", "answered", "event_timestamps", "states", "defaulted", "request_inputs", "label"),
    }
)
"""No output and no join key may have such a name."""

RESERVED_JOIN_KEYS = RESERVED_NAMES | {"limit"}
"""No join key of a new model may have such a name: `GET /history` takes a parameter beside the keys."""

RESERVED_OUTPUTS = RESERVED_NAMES | {"time", "shadow"}
"""No output of a new model may have such a name: an answer of `GET /history` has such members beside the outputs."""


class DecisionThreshold(Frozen):
    """The probability at or above which the decision is the positive class, and the rule that chose it."""

    value: Annotated[float, Field(ge=0, le=1)]
    rule: str


class BinaryTask(Frozen):
    """Tells two classes apart.

    classes: the negative one, then the positive one. Scores are the positive one's probabilities.
    """

    kind: Literal["binary"] = "binary"
    classes: tuple[ClassName, ClassName]
    threshold: DecisionThreshold

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes; of every task, in the order of the model's probabilities."""
        return self.classes


class MulticlassTask(Frozen):
    """Tells several classes apart; the answer is the likeliest one.

    classes: in the order of the model's probabilities.
    """

    kind: Literal["multiclass"] = "multiclass"
    classes: tuple[ClassName, ...] = Field(min_length=2)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: a class is listed twice")
        return self


class RegressionTask(Frozen):
    """Predicts a number. A prediction beyond a bound is answered as the bound.

    at_least, at_most: bounds of the answer, in the target's unit; None: no bound.
    unit: of the target, for people; empty if it has none.
    """

    kind: Literal["regression"] = "regression"
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """None: a regression has no classes."""
        return ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.at_least is not None and self.at_most is not None and self.at_least >= self.at_most:
            raise ValueError("at_least: must be below at_most")
        return self


Task = Annotated[BinaryTask | MulticlassTask | RegressionTask, Field(discriminator="kind")]


class Output(Frozen):
    """One named member of the answer.

    kind: `probability`: of the positive class. `decision`: true for the positive class. `probabilities`: of each class.
        `class`: name of the likeliest class. `value`: the predicted number.
    """

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    kind: OutputKind


def outputs_of(kind: TaskKind, target: str) -> tuple[Output, ...]:
    """The outputs of a task, named after its target.

    `click` of a binary task gives `click_probability` and `click`, `department` of a multi-class task
    `department_probabilities` and `department`, `spend` of a regression `spend`.
    """
    names = {"probability": f"{target}_probability", "probabilities": f"{target}_probabilities"}
    return tuple(Output(name=names.get(each, target), kind=each) for each in OUTPUT_KINDS[kind])
