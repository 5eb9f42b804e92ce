"""Whether one model may answer in another's place, which a canary and a change of the champion make it do."""

from contract import BinaryTask, ModelContract, MulticlassTask, RegressionTask, RequestInput
from contract.values.request_values import asked_of

_ANEW = "Start the service anew to serve it"


def why_not_in_place(served: ModelContract, other: ModelContract, *, beside: bool = False) -> str:
    """Say which member of the other contract would change the API under clients' feet; empty if none does.

    Clients must get the same members, of the same meaning. A threshold, a bound and the features may differ. They must
    not have to send more than before.

    Args:
        beside: the served model stays live, so that a value which the other does not take is still taken.
    """
    ours, theirs = _api(served), _api(other)
    for member, what in theirs.items():
        if what != ours[member]:
            return f"{member} is {what}, and {ours[member]} is served: clients would get another API. {_ANEW}"
    taken, asked = _asked(served), _asked(other)
    for name, given in asked.items():
        before = taken.get(name)
        if before is not None and before.dtype != given.dtype:
            return f"request input {name!r} is {given.dtype}, and {before.dtype} is served. {_ANEW}"
        if given.default is None and (before is None or before.default is not None):
            return f"request input {name!r} is required, and clients need not send it so far. {_ANEW}"
    for name in taken:
        if name not in asked and not beside:
            return f"request input {name!r} is not taken, and clients may send it. {_ANEW}"
    return ""


def _asked(contract: ModelContract) -> dict[str, RequestInput]:
    return {given.name: given for given in asked_of(contract.feature_schema.request_inputs)}


def _api(contract: ModelContract) -> dict[str, str]:
    """Member of the contract → what of it clients rely on, in words."""
    task = contract.task
    described = {
        "task": task.kind,
        "entity": contract.entity,
        "join key": ", ".join(f"{key.join_key} ({key.dtype})" for key in contract.feature_schema.entity_keys),
        "outputs": ", ".join(f"{output.name} ({output.kind})" for output in contract.outputs),
    }
    match task:
        case BinaryTask(classes=classes) | MulticlassTask(classes=classes):
            described["task.classes"] = ", ".join(classes)
        case RegressionTask(unit=unit):
            described["task.unit"] = unit or "none"
    return described
