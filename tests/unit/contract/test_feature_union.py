import numpy as np
import pytest

from contract import ContractError, EntityKey, ModelContract, RawFeatures, Resolver
from contract.feature_union import FeatureUnion, InputGroup
from tests.models.fakes import ACTIVITY, ACTIVITY_TTL, DAY, MEMBER, NOW, ORDERS, PROFILE, small_contract, small_schema


def with_inputs(contract: ModelContract, *names: str) -> ModelContract:
    inputs = {feature.name: feature for feature in contract.inputs}
    return contract.model_copy(update={"inputs": tuple(inputs[name] for name in names)})


def of_view(contract: ModelContract, view: str) -> ModelContract:
    """A contract that knows one stored view only."""
    schema = contract.feature_schema
    features = tuple(f for f in schema.features if f.sources == (view,) and f.view == view)
    kept = {
        "views": tuple(v for v in schema.views if v.name == view),
        "features": features,
        "request_inputs": (),
        "feature_service": f"{view}_v1",
    }
    names = {feature.name for feature in features}
    return contract.model_copy(
        update={
            "feature_schema": schema.model_copy(update=kept),
            "inputs": tuple(f for f in contract.inputs if f.name in names),
        }
    )


def rows(n: int, contract: ModelContract) -> RawFeatures:
    values = np.arange(n * len(contract.inputs), dtype=np.float64).reshape(n, -1)
    return RawFeatures(values, np.full((n, len(contract.feature_schema.views)), NOW - DAY))


def test_one_model_reads_what_its_contract_says_and_takes_all_of_it() -> None:
    contract = small_contract()
    union, raw = FeatureUnion.of(contract), rows(3, contract)

    assert contract.inputs == union.features
    assert contract.feature_schema.views == union.views
    assert union.part(contract).of(raw) is raw


def test_what_two_models_share_is_read_once_and_each_finds_its_own_in_its_own_order() -> None:
    champion = of_view(small_contract(), PROFILE)
    challenger = with_inputs(small_contract(), MEMBER, ORDERS)

    union = FeatureUnion.of(champion, challenger)

    names = [feature.name for feature in union.features]
    assert len(set(names)) == len(names)
    assert {*champion.feature_names, *challenger.feature_names} == set(names)
    assert [PROFILE, ACTIVITY] == [view.name for view in union.views]
    assert ("profile_v1", "tiny_v1") == union.feature_services

    values = np.array([[10.0 * names.index(name) for name in names]])
    raw = RawFeatures(values, np.array([[NOW - 1, NOW - 2 * ACTIVITY_TTL]]))
    for contract in (champion, challenger):
        part = union.part(contract).of(raw)
        assert [10.0 * names.index(name) for name in contract.feature_names] == part.values[0].tolist()
        assert part.event_times is not None
        assert len(contract.feature_schema.views) == part.event_times.shape[1]
    resolved = Resolver.of(challenger).resolve(union.part(challenger).of(raw), NOW)
    assert ["stale"] == [issue.state for issue in resolved.issues(0)]  # is_member's view, and not the profile's
    assert not Resolver.of(champion).resolve(union.part(champion).of(raw), NOW).issues(0)


def test_models_with_other_join_keys_cannot_be_read_together() -> None:
    other = small_schema().model_copy(update={"entity_keys": (EntityKey(join_key="shop_id", dtype="string"),)})

    with pytest.raises(ContractError, match="different join keys"):
        FeatureUnion.of(small_contract(), small_contract().model_copy(update={"feature_schema": other}))


def test_rows_of_several_reads_are_joined_and_taken_with_all_that_is_known_of_them() -> None:
    contract = small_contract()
    plain, cached = rows(2, contract), rows(1, contract)
    unread = np.array([[False, True, False, False, False]])
    cached = RawFeatures(cached.values, cached.event_times, np.array([7.0]), unread)

    joined = RawFeatures.joined([plain, cached])

    assert joined.values.shape == (3, len(contract.inputs))
    assert joined.cached_seconds is not None
    assert joined.unread_rows is not None
    np.testing.assert_array_equal([np.nan, np.nan, 7.0], joined.cached_seconds)
    assert [False, False, True] == joined.unread_rows.tolist()
    last = joined.take(np.array([2]))
    np.testing.assert_array_equal(cached.values, last.values)
    assert last.unread is not None
    assert unread.tolist() == last.unread.tolist()
    assert RawFeatures.joined([plain, plain]).cached_seconds is None


def test_which_rows_are_unread_for_a_model_follows_from_the_inputs_that_it_takes() -> None:
    champion, challenger = of_view(small_contract(), PROFILE), with_inputs(small_contract(), MEMBER, ORDERS)
    union = FeatureUnion.of(champion, challenger)
    column = {feature.name: position for position, feature in enumerate(union.features)}
    unread = np.zeros((3, len(union.features)), dtype=bool)
    unread[1, column[MEMBER]] = unread[2, column[ORDERS]] = True
    raw = RawFeatures(np.zeros(unread.shape), np.zeros((3, 2)), unread=unread)

    of_champion, of_challenger = (union.part(contract).of(raw).unread_rows for contract in (champion, challenger))

    assert of_champion is not None
    assert of_challenger is not None
    assert [False, False, True] == of_champion.tolist()
    assert [False, True, True] == of_challenger.tolist()
    assert union.part(champion).of(raw.take(np.array([0, 1]))).unread_rows is None


def test_each_model_has_a_group_of_the_inputs_and_views_that_no_model_before_it_reads() -> None:
    champion, challenger = of_view(small_contract(), PROFILE), with_inputs(small_contract(), MEMBER, ORDERS)

    assert (InputGroup(range(2), range(1)), InputGroup(range(2, 3), range(1, 2))) == FeatureUnion.of(
        champion, challenger
    ).groups
    assert (InputGroup(range(2), range(2)),) == FeatureUnion.of(challenger, challenger).groups
