"""Whether one model may answer in another's place, which a canary and a change of the champion make it do."""

from contract import BinaryTask, ModelContract, MulticlassTask, RegressionTask


def why_not_in_place(served: ModelContract, other: ModelContract) -> str:
    """Say which member of the other contract would change the API under clients' feet; empty if none does.

    Clients must get the same members, of the same meaning. A threshold, a bound and the features may differ.
    """
    ours, theirs = _api(served), _api(other)
    for member, what in theirs.items():
        if what != ours[member]:
            return (
                f"{member} is {what}, and {ours[member]} is served: clients would get another API. "
                "Start the service anew to serve it"
            )
    return ""


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
