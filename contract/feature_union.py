"""The union of several models' inputs and stored views, each once, so that one look-up serves all models."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.errors import ContractError
from contract.feature_schema import EntityKey, FeatureSpec, RequestInput, SourceView
from contract.inputs import FeatureInput
from contract.model_contract import ModelContract
from contract.raw_features import RawFeatures


@dataclass(frozen=True)
class InputGroup:
    """What one model reads and no model before it does: positions in `FeatureUnion.features` and `.views`.

    What is wrong with it in a store does not concern the models before.
    """

    features: range
    views: range


@dataclass(frozen=True)
class FeatureUnion:
    """The inputs of one model or of several.

    feature_services: those that offer them, each once.
    features: k inputs, those of the first model first and in its order, as are `views`, v of them. A category is there
        once for each vocabulary: its codes differ.
    offered: all features of the services, also those that are no input.
    groups: `features` and `views` by the first model that reads them; only models that read something new have one.
    """

    feature_services: tuple[str, ...]
    entity_keys: tuple[EntityKey, ...]
    views: tuple[SourceView, ...]
    features: tuple[FeatureInput, ...]
    offered: tuple[FeatureSpec, ...]
    request_inputs: tuple[RequestInput, ...]
    groups: tuple[InputGroup, ...]

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
            features=_each_once((given for contract in contracts for given in contract.inputs), _read_as),
            offered=_each_once(feature for schema in schemas for feature in schema.features),
            request_inputs=_each_once(given for schema in schemas for given in schema.request_inputs),
            groups=tuple(_groups(contracts)),
        )

    def part(self, contract: ModelContract) -> "UnionPart":
        """The columns and views of one of the models."""
        features = list(map(_read_as, self.features))
        views = [view.name for view in self.views]
        own_features = [features.index(_read_as(given)) for given in contract.inputs]
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
        """Select the model's columns and views from n rows read for the union."""
        columns, unread, event_times = self.columns, raw.unread, raw.event_times
        if columns is None and self.views is None:
            return raw
        return RawFeatures(
            values=raw.values if columns is None else raw.values[:, columns],
            event_times=event_times if self.views is None or event_times is None else event_times[:, self.views],
            cached_seconds=raw.cached_seconds,
            unread=unread if columns is None or unread is None else unread[:, columns],
        )


def _groups(contracts: Sequence[ModelContract]) -> Iterator[InputGroup]:
    features: set[Hashable] = set()
    views: set[str] = set()
    for contract in contracts:
        known_features, known_views = len(features), len(views)
        features.update(map(_read_as, contract.inputs))
        views.update(view.name for view in contract.feature_schema.views)
        group = InputGroup(range(known_features, len(features)), range(known_views, len(views)))
        if group.features or group.views:
            yield group


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Item = TypeVar("_Item", bound=_Named)


def _name(item: _Named) -> str:
    return item.name


def _read_as(given: FeatureInput) -> Hashable:
    """Equal for inputs that are the same number in every row."""
    return given.name, given.kind, given.vocabulary


def _each_once(items: Iterable[_Item], read_as: Callable[[_Item], Hashable] = _name) -> tuple[_Item, ...]:
    """Keep the first item of each name. Names are unique: every contract was checked against the same registry."""
    found: dict[Hashable, _Item] = {}
    for item in items:
        found.setdefault(read_as(item), item)
    return tuple(found.values())
