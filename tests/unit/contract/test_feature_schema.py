import pytest

from contract import (
    ContractMismatchError,
    EntityKey,
    FeatureSchema,
    FeatureSpec,
    RequestInput,
    SourceView,
    differences,
)
from tests.unit.contract.builders import schema

SPEND, ORDERS, DAYS = schema().features
LIFETIME, WINDOWED = schema().views
AS_OF = schema().request_inputs[0]
TENANT = RequestInput(name="tenant", dtype="int64", filled_by="request_time_unix_us")


def live(**changes: object) -> FeatureSchema:
    return schema().model_copy(update=changes)


@pytest.mark.parametrize(
    ("registry", "sentence"),
    [
        (live(project="other"), "project is 'other', the contract says 'churn'"),
        (live(feature_service="v2"), "feature service is 'v2', the contract says 'churn_v1'"),
        (
            live(entity_keys=(EntityKey(join_key="customer_id", dtype="int64"),)),
            "join keys are [customer_id: int64], the contract says [customer_id: string]",
        ),
        (live(features=(SPEND, DAYS)), "feature 'windowed__orders' is not in the registry"),
        (
            live(features=(SPEND, ORDERS.model_copy(update={"dtype": "float64"}), DAYS)),
            "feature 'windowed__orders': dtype is 'float64', the contract says 'int64'",
        ),
        (
            live(features=(SPEND, ORDERS, DAYS.model_copy(update={"sources": ("lifetime",)}))),
            "feature 'recency__days': sources is ['lifetime'], the contract says ['lifetime', 'windowed']",
        ),
        (live(views=(LIFETIME,)), "feature view 'windowed' is not in the registry"),
        (
            live(views=(LIFETIME, SourceView(name="windowed", ttl_seconds=None))),
            "feature view 'windowed': ttl_seconds is None, the contract says 172800.0",
        ),
        (live(request_inputs=()), "request input 'as_of' is not in the registry"),
        (
            live(request_inputs=(AS_OF.model_copy(update={"dtype": "int32"}),)),
            "request input 'as_of': dtype is 'int32', the contract says 'int64'",
        ),
        (
            live(request_inputs=(AS_OF, TENANT)),
            "request input 'tenant' is required by the registry but not in the contract",
        ),
        (live(transformations={}), "on-demand view 'recency' is not in the registry"),
        (
            live(transformations={"recency": "00" * 32}),
            f"on-demand view 'recency': source sha256 is '{'00' * 32}', the contract says '{'ab' * 32}'",
        ),
    ],
)
def test_a_broken_promise_is_said_in_one_sentence(registry: FeatureSchema, sentence: str) -> None:
    assert [sentence] == differences(schema(), registry)


def test_equal_schemas_do_not_differ() -> None:
    assert [] == differences(schema(), schema())


def test_what_the_registry_offers_beyond_the_promise_is_no_difference() -> None:
    more = live(
        features=(FeatureSpec(name="new__x", dtype="int64", view="new", sources=("new",)), DAYS, ORDERS, SPEND),
        views=(SourceView(name="new", ttl_seconds=1.0), WINDOWED, LIFETIME),
        transformations={"new": "00" * 32, **schema().transformations},
    )

    assert [] == differences(schema(), more)


def test_policies_and_defaults_are_the_contracts_own_and_not_compared() -> None:
    other = SPEND.model_copy(update={"on_stale": "refuse", "on_missing": "refuse", "default": 5.0})

    assert [] == differences(schema(), live(features=(other, ORDERS, DAYS)))


def test_all_differences_are_told_at_once() -> None:
    found = differences(schema(), live(project="other", transformations={}))

    assert 2 == len(found)
    assert all(sentence in str(ContractMismatchError(found)) for sentence in found)
