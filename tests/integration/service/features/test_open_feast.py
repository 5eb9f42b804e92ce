"""A service starts only over a registry that keeps what the contract promises, and says what is amiss."""

from pathlib import Path

import pytest

from contract import ContractMismatchError, ModelContract
from service.errors import StartupError
from service.features.opening import broken_promises, open_store
from tests.integration.service.conftest import (
    DEFINITIONS,
    TinyFeast,
    tiny_feast,
)


@pytest.fixture(scope="module")
def contract(feast: TinyFeast) -> ModelContract:
    return feast.contract()


def test_a_model_of_another_use_case_is_refused_and_told_what_to_set(feast: TinyFeast, contract: ModelContract) -> None:
    schema = contract.feature_schema.model_copy(update={"project": "spend"})

    with pytest.raises(StartupError, match=r"project 'spend', but .* is that of 'tiny'; set USE_CASE to the folder of"):
        feast.open(contract.model_copy(update={"feature_schema": schema}))


class Change:
    """A repository and registry of its own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder, self._redis_url = folder, redis_url

    def __call__(self, old: str, new: str) -> TinyFeast:
        assert 1 == DEFINITIONS.count(old)
        feast = tiny_feast(self._folder, self._redis_url, DEFINITIONS.replace(old, new))
        feast.apply()
        return feast


@pytest.fixture
def changed(tmp_path: Path, valkey: str) -> Change:
    """Applies the repository anew with one thing changed."""
    return Change(tmp_path, valkey)


def test_a_registry_that_keeps_its_promises_is_opened(feast: TinyFeast, contract: ModelContract) -> None:
    assert feast.open(contract) is not None


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        pytest.param(
            ', Field(name="is_member", dtype=Bool)]',
            "]",
            "feature 'activity__is_member' is not in the registry",
            id="a lost feature",
        ),
        pytest.param(
            "timedelta(days=2)",
            "timedelta(days=7)",
            "feature view 'activity': ttl_seconds is 604800.0, the contract says 172800.0",
            id="a changed TTL",
        ),
        pytest.param(
            'name="spend", dtype=Float64',
            'name="spend", dtype=Float32',
            "feature 'profile__spend': dtype is 'float32', the contract says 'float64'",
            id="a changed type",
        ),
        pytest.param(
            "/ 86_400_000_000", "/ 86_400_000_001", "on-demand view 'recency': source sha256", id="other code"
        ),
        pytest.param(
            'FeatureService(name="tiny_v1"',
            'FeatureService(name="tiny_v2"',
            "feature service 'tiny_v1' is not in the feature registry",
            id="a lost feature service",
        ),
    ],
)
def test_a_registry_that_broke_a_promise_is_refused_with_the_difference_named(
    changed: Change, contract: ModelContract, old: str, new: str, difference: str
) -> None:
    feast = changed(old, new)

    with pytest.raises(ContractMismatchError) as caught:
        feast.open(contract)

    assert 1 == len(caught.value.differences)
    assert difference in caught.value.differences[0]


def test_a_registry_that_offers_more_than_was_promised_is_opened(changed: Change, contract: ModelContract) -> None:
    more = changed(
        'schema=[Field(name="order_count_30d", dtype=Int64), ',
        'schema=[Field(name="brand_new", dtype=Int64), Field(name="order_count_30d", dtype=Int64), ',
    )

    assert more.open(contract) is not None


def test_without_a_redis_address_the_service_does_not_start(feast: TinyFeast, contract: ModelContract) -> None:
    with pytest.raises(StartupError, match="REDIS_URL is not set"):
        feast.with_redis(None).open(contract)


def test_without_a_registry_file_the_service_does_not_start(
    valkey: str, tmp_path: Path, contract: ModelContract
) -> None:
    feast = tiny_feast(tmp_path, valkey)

    with pytest.raises(StartupError, match=r"no feature registry at .*registry\.db"):
        feast.open(contract)

    assert not (tmp_path / "registry.db").exists(), "a service must not make an empty registry of its own"


def test_a_registry_file_that_is_none_is_refused(valkey: str, tmp_path: Path, contract: ModelContract) -> None:
    feast = tiny_feast(tmp_path, valkey)
    (tmp_path / "registry.db").write_bytes(b"not a registry")

    with pytest.raises(StartupError, match=r"registry\.db"):
        feast.open(contract)


def test_a_key_of_another_type_than_the_registrys_is_refused(feast: TinyFeast, contract: ModelContract) -> None:
    schema = contract.feature_schema
    numeric = schema.model_copy(update={"entity_keys": (schema.entity_keys[0].model_copy(update={"dtype": "int64"}),)})

    with pytest.raises(ContractMismatchError, match=r"join keys are \[customer_id: string\].*customer_id: int64"):
        feast.open(contract.model_copy(update={"feature_schema": numeric}))


def test_a_feature_service_that_cannot_be_served_is_refused(feast: TinyFeast, contract: ModelContract) -> None:
    schema = contract.feature_schema
    (given,) = schema.request_inputs
    taken = schema.model_copy(update={"request_inputs": (given.model_copy(update={"name": "spend"}),)})

    with pytest.raises(StartupError, match="request input 'spend' has the name of a feature"):
        feast.open(contract.model_copy(update={"feature_schema": taken}))


@pytest.mark.parametrize(
    ("url", "secret"), [("redis://:hunter2,x@127.0.0.1/0", "hunter2"), ("http://:hunter2@127.0.0.1/0", "hunter2")]
)
def test_an_address_that_cannot_be_used_is_refused_without_repeating_its_password(
    feast: TinyFeast, contract: ModelContract, url: str, secret: str
) -> None:
    with pytest.raises(ValueError, match="REDIS_URL") as caught:
        feast.with_redis(url).open(contract)

    assert secret not in str(caught.value)


def test_the_registry_can_be_held_against_the_contract_again_and_again(
    feast: TinyFeast, contract: ModelContract
) -> None:
    opened = feast.open(contract)
    views = contract.feature_schema.views
    longer = contract.feature_schema.model_copy(
        update={"views": (views[0], views[1].model_copy(update={"ttl_seconds": 1.0}))}
    )

    assert [] == opened.broken_promises()
    assert [] == opened.broken_promises()
    store = open_store(feast.repo, feast.artefacts, contract).store
    (found,) = broken_promises(store.registry, store.project, contract.model_copy(update={"feature_schema": longer}))
    assert "feature view 'activity': ttl_seconds" in found
