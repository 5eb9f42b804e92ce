"""Which feature services the online service can answer with.

Training asks before it reads a row, and the service when it starts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from contract.feature_schema import FeatureSchema

_NO_ENTITY = "__dummy_id"
"""Join key that Feast gives to a view without an entity."""


def why_not_served(schema: FeatureSchema) -> list[str]:
    """Reasons why no reader can read a feature service as Feast defines it, one sentence each; empty if one can."""
    return [f"feature service {schema.feature_service!r}: {reason}" for reason in _reasons(schema)]


def _reasons(schema: FeatureSchema) -> Iterator[str]:
    keys = {key.join_key for key in schema.entity_keys}
    if not keys or _NO_ENTITY in keys:
        yield "a feature view has no entity, so there is no key to look it up by; give it one"
    fields = {feature.reference: feature.field_name for feature in schema.features}
    if schema.transformations and (twice := _twice(fields.values())):
        # Feast computes on-demand views only where features are asked for by their bare names.
        yield (
            f"two feature views share the feature names {twice}, which Feast cannot serve beside an on-demand view; "
            "rename one of each, or select the others with view[[…]]"
        )
    for given in schema.request_inputs:
        if given.name in keys:
            yield f"request input {given.name!r} has the name of a join key; rename it"
        elif given.name in fields.values():
            yield f"request input {given.name!r} has the name of a feature, whose place it would take; rename one"


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)
