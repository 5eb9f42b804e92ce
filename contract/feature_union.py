"""What several models read together: every input and every stored view once, so that one look-up serves them all."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.errors import ContractError
from contract.feature_schema import EntityKey, FeatureSpec, RequestInput, SourceView
from contract.model_contract import ModelContract
from contract.raw_features import RawFeatures


@dataclass(frozen=True)
class FeatureUnion:
    """The inputs of one model or of several.

    feature_services: those that offer them, each once.
    features: k inputs, those of the first model first and in its order, as are `views`, v of them.
    offered: all features of the services, whether they are inputs or not.
    """

    feature_services: tuple[str, ...]
    entity_keys: tuple[EntityKey, ...]
    views: tuple[SourceView, ...]
    features: tuple[FeatureSpec, ...]
    offered: tuple[FeatureSpec, ...]
    request_inputs: tuple[RequestInput, ...]

    @classmethod
    def of(cls, *contracts: ModelContract) -> "FeatureUnion":
        """The union over at least one contract.

        Raises:
            ContractError: two contracts look up by different join keys.
        """
        schemas = [contract.feature_schema for contract in contracts]
        if len({schema.entity_keys for schema in schemas}) > 1:
            raise ContractError("the models look up by different join keys")
        return cls(
            feature_services=tuple(dict.fromkeys(schema.feature_service for schema in schemas)),
            entity_keys=schemas[0].entity_keys,
            views=_each_once(view for schema in schemas for view in schema.views),
            features=_each_once(feature for contract in contracts for feature in contract.inputs),
            offered=_each_once(feature for schema in schemas for feature in schema.features),
            request_inputs=_each_once(given for schema in schemas for given in schema.request_inputs),
        )

    def part(self, contract: ModelContract) -> "UnionPart":
        """Where one of the models finds its own."""
        features = [feature.name for feature in self.features]
        views = [view.name for view in self.views]
        own_features = [features.index(name) for name in contract.feature_names]
        own_views = [views.index(view.name) for view in contract.feature_schema.views]
        return UnionPart(
            columns=None if own_features == list(range(len(features))) else np.array(own_features),
            views=None if own_views == list(range(len(views))) else np.array(own_views),
        )


@dataclass(frozen=True)
class UnionPart:
    """Columns and views of a union that are one model's; None where they are all, in order."""

    columns: NDArray[np.intp] | None
    views: NDArray[np.intp] | None

    def of(self, raw: RawFeatures) -> RawFeatures:
        """That model's part of what was read for the union, n rows."""
        if self.columns is None and self.views is None:
            return raw
        event_times = raw.event_times
        return RawFeatures(
            values=raw.values if self.columns is None else raw.values[:, self.columns],
            event_times=event_times if self.views is None or event_times is None else event_times[:, self.views],
            cached_seconds=raw.cached_seconds,
            unread=raw.unread,
        )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Item = TypeVar("_Item", bound=_Named)


def _each_once(items: Iterable[_Item]) -> tuple[_Item, ...]:
    """By name; the registry, against which every contract was held, gives one name one meaning."""
    found: dict[str, _Item] = {}
    for item in items:
        found.setdefault(item.name, item)
    return tuple(found.values())
