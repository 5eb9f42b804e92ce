"""The union of several models' inputs and stored views, each once, so that one look-up serves all models."""

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
    first_features, first_views: how many of them are the first model's.
    offered: all features of the services, also those that are no input.
    """

    feature_services: tuple[str, ...]
    entity_keys: tuple[EntityKey, ...]
    views: tuple[SourceView, ...]
    features: tuple[FeatureSpec, ...]
    offered: tuple[FeatureSpec, ...]
    request_inputs: tuple[RequestInput, ...]
    first_features: int
    first_views: int

    @classmethod
    def of(cls, *contracts: ModelContract) -> "FeatureUnion":
        """The union over at least one contract.

        Raises:
            ContractError: two contracts have different join keys.
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
            first_features=len(contracts[0].inputs),
            first_views=len(schemas[0].views),
        )

    def part(self, contract: ModelContract) -> "UnionPart":
        """The columns and views of one of the models."""
        features = [feature.name for feature in self.features]
        views = [view.name for view in self.views]
        own_features = [features.index(name) for name in contract.feature_names]
        own_views = [views.index(view.name) for view in contract.feature_schema.views]
        return UnionPart(
            columns=None if own_features == list(range(len(features))) else np.array(own_features),
            views=None if own_views == list(range(len(views))) else np.array(own_views),
            reads_further=any(place >= self.first_features for place in own_features)
            or any(place >= self.first_views for place in own_views),
        )


@dataclass(frozen=True)
class UnionPart:
    """Columns and views of a union that are one model's; None where they are all, in order.

    reads_further: some of them are not the first model's.
    """

    columns: NDArray[np.intp] | None
    views: NDArray[np.intp] | None
    reads_further: bool

    def of(self, raw: RawFeatures) -> RawFeatures:
        """Select the model's columns and views from n rows read for the union."""
        unread = raw.unread
        if self.reads_further and raw.further_unread is not None:
            unread = raw.further_unread if unread is None else raw.further_unread | unread
        elif self.columns is None and self.views is None:
            return raw
        event_times = raw.event_times
        return RawFeatures(
            values=raw.values if self.columns is None else raw.values[:, self.columns],
            event_times=event_times if self.views is None or event_times is None else event_times[:, self.views],
            cached_seconds=raw.cached_seconds,
            unread=unread,
        )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Item = TypeVar("_Item", bound=_Named)


def _each_once(items: Iterable[_Item]) -> tuple[_Item, ...]:
    """Keep the first item of each name. Names are unique: every contract was checked against the same registry."""
    found: dict[str, _Item] = {}
    for item in items:
        found.setdefault(item.name, item)
    return tuple(found.values())
