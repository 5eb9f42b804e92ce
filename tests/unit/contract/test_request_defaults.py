"""Defaults of request inputs, as tags of Feast's fields give them."""

from types import SimpleNamespace
from typing import Any

import pytest

from contract import ContractError, RequestInput
from contract.registry_schema import read_feature_schema


class Registry:
    """One on-demand view, which takes one value of the request."""

    def __init__(self, dtype: str, default: str) -> None:
        field = SimpleNamespace(name="asked", dtype=dtype, tags={"default": default})
        self._view = SimpleNamespace(
            name="computed",
            source_feature_view_projections={},
            source_request_sources={"request": SimpleNamespace(schema=[field])},
            feature_transformation=SimpleNamespace(udf_string="def f(): ..."),
        )

    def get_feature_service(self, *_: str) -> Any:
        projection = SimpleNamespace(name="computed", features=[], name_to_use=lambda: "computed")
        return SimpleNamespace(feature_view_projections=[projection])

    def get_feature_view(self, *_: str) -> Any:
        raise KeyError("no stored view")

    def get_on_demand_feature_view(self, *_: str) -> Any:
        return self._view


def read_request_inputs(dtype: str, tag: str) -> tuple[RequestInput, ...]:
    registry: Any = Registry(dtype, tag)
    return read_feature_schema(registry, "shop", "model").request_inputs


@pytest.mark.parametrize(
    ("dtype", "tag", "default"),
    [
        ("UnixTimestamp", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("Bool", "True", True),
        ("Int64", "-7", -7),
        ("Float32", "1.5", 1.5),
        ("String", "", ""),
    ],
)
def test_a_tag_gives_a_default_of_the_inputs_type(dtype: str, tag: str, default: object) -> None:
    (given,) = read_request_inputs(dtype, tag)

    assert default == given.default


@pytest.mark.parametrize(
    ("dtype", "tag", "said"),
    [
        ("UnixTimestamp", "1700000000", "must be a time with a zone"),
        ("Int32", "2147483648", "out of range for int32"),
        ("Int64", "1.5", "not of type int64"),
        ("Float32", "1e39", "finite number"),
        ("Bool", "yes", "must be true or false"),
    ],
)
def test_a_default_that_every_request_would_be_refused_for_is_refused_itself(dtype: str, tag: str, said: str) -> None:
    with pytest.raises(ContractError, match=f"request input 'asked': default: .*{said}"):
        read_request_inputs(dtype, tag)
