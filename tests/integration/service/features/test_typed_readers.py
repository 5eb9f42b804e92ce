"""Categories, times, arrays and keys of several views: the compiled reader = Feast's SDK reader = a plain Feast call.

The values are random, right and wrong for their fields, in a real server.
"""

import os
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, FloatList, StringList, Value

from contract import ModelContract, RawFeatures, Vocabulary
from contract.feature_union import FeatureUnion
from service.features import feast_sdk
from service.features.compiled.reader import RedisFeatures
from service.features.feast_sdk import FeastOnlineFeatures
from service.features.opening import open_feast
from service.features.port import OnlineFeatures
from tests.integration.service.conftest import TinyFeast, tiny_feast
from tests.integration.service.features.test_typed_features import DEFINITIONS, VOCABULARIES, contract_of
from tests.models.fakes import NOW, NOW_US

BATCHES, AT_ONCE = 12, 80
CHANNELS = ["web", "shop", "phone", ""]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def feast(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> TinyFeast:
    feast = tiny_feast(tmp_path_factory.mktemp("typed_readers"), valkey, DEFINITIONS)
    feast.apply()
    return feast


@dataclass
class Readers:
    """One store, three ways to read it."""

    contract: ModelContract
    store: FeatureStore
    compiled: OnlineFeatures
    sdk: OnlineFeatures

    def write(self, view: str, rows: Sequence[tuple[EntityKey, dict[str, Value]]]) -> None:
        at = datetime.fromtimestamp(NOW - 60, UTC)
        batch = [(key, values, at, None) for key, values in rows]
        writer = self.store.provider.online_store
        writer.online_write_batch(self.store.config, self.store.get_feature_view(view), batch, None)


@pytest_asyncio.fixture(loop_scope="module")
async def readers(feast: TinyFeast, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Readers]:
    # However busy the machine is, the SDK is asked again until all that can be read are.
    monkeypatch.setattr(feast_sdk, "_SEARCH_SECONDS", 60.0)
    os.environ.update(feast.artefacts.feast_environment())
    contract = contract_of(feast, "typed")
    compiled, sdk = (feast.open(contract, compiled=compiled).features for compiled in (True, False))
    assert (RedisFeatures, FeastOnlineFeatures) == (type(compiled), type(sdk))
    yield Readers(contract, FeatureStore(repo_path=str(feast.repo)), compiled, sdk)
    await compiled.close()
    await sdk.close()


def _declared(chance: random.Random) -> dict[str, dict[str, Value]]:
    """View → field → a value of its declared type."""
    return {
        "people": {
            "income": Value(string_val=chance.choice(["low", "middle", "high", "new money", "", "x" * 100, "LOW"])),
            "kids": Value(int32_val=chance.choice([0, 1, 2, 3, -1, 2**31 - 1])),
            "since": Value(
                unix_timestamp_val=chance.choice(
                    [0, -1, 1_700_000_000, chance.randrange(2**31), -(2**63), 253_402_300_799]
                )
            ),
            "owns": Value(bool_val=chance.random() < 0.5),
            "size": Value(int32_val=chance.randrange(-9, 9)),
            "taste": Value(
                float_list_val=FloatList(val=[chance.choice([0.0, -0.0, chance.gauss(0, 9)]) for _ in "123"])
            ),
        },
        "area": {"metres": Value(float_val=chance.gauss(0, 9))},
        "habits": {"spend": Value(double_val=chance.choice([0.0, chance.gauss(0, 9), 1e300]))},
    }


def _other(chance: random.Random) -> Value:
    """A value of any type."""
    text = chance.choice(["low", "7", "nan", "much", ""])
    return chance.choice(
        [
            Value(string_val=text),
            Value(bytes_val=text.encode()),
            Value(int64_val=chance.choice([2, 2**63 - 1, -(2**63)])),
            Value(int32_val=2),
            Value(double_val=2.0),
            Value(float_val=2.5),
            Value(bool_val=True),
            Value(unix_timestamp_val=10**9),
            Value(double_list_val=DoubleList(val=[1.0, 2.0, 3.0])),
            Value(float_list_val=FloatList(val=[1.0] * chance.choice([0, 2, 3, 4]))),
            Value(string_list_val=StringList(val=["a", "b", "c"])),
        ]
    )


def _row(fields: dict[str, Value], chance: random.Random, *, tidy: bool) -> dict[str, Value]:
    found = {}
    for name, value in fields.items():
        draw = chance.random()
        if name == "since" and draw < 0.05 and not tidy:
            value = Value(unix_timestamp_val=10**15)  # which no calendar holds
            draw = 1.0
        if draw < 0.1:
            continue  # not in the hash at all
        found[name] = Value() if draw < 0.2 else _other(chance) if draw < 0.28 and not tidy else value
    return found


def _filled(readers: Readers, chance: random.Random, batch: int, *, tidy: bool) -> list[tuple[int, str]]:
    """Store rows of entities, some in not all views; returns their keys, some of nobody among them."""
    households = [batch * AT_ONCE * 2 + number for number in range(AT_ONCE)]
    households[0] = 2**63 - 1 - batch
    departments = [f"{batch}-{number}" for number in range(7)]
    keys = [(household, chance.choice(departments)) for household in households]
    people, area, habits = [], [], []
    for household, department in keys:
        fields = _declared(chance)
        if chance.random() < 0.9:
            of_household = EntityKey(join_keys=["household_id"], entity_values=[Value(int64_val=household)])
            people.append((of_household, _row(fields["people"], chance, tidy=tidy)))
        if chance.random() < 0.9:
            of_both = EntityKey(
                join_keys=["household_id", "department"],
                entity_values=[Value(int64_val=household), Value(string_val=department)],
            )
            habits.append((of_both, _row(fields["habits"], chance, tidy=tidy)))
    for department in departments[1:]:
        of_department = EntityKey(join_keys=["department"], entity_values=[Value(string_val=department)])
        area.append((of_department, _row(_declared(chance)["area"], chance, tidy=True)))
    for view, rows in (("people", people), ("area", area), ("habits", habits)):
        readers.write(view, rows)
    nobody = [(-1 - batch, "nowhere"), (-1 - batch, departments[1])]
    asked = [*keys, *keys[:3], *nobody]
    chance.shuffle(asked)
    return asked


def _given(chance: random.Random, n: int) -> dict[str, list[Any]]:
    return {
        "coupon": [chance.choice([0.0, 1.0, 0.25]) for _ in range(n)],
        "channel": [chance.choice(CHANNELS) for _ in range(n)],
    }


def _unread(raw: RawFeatures) -> list[bool]:
    rows = raw.unread_rows
    return [False] * len(raw.values) if rows is None else rows.tolist()


async def test_the_compiled_reader_equals_feasts_sdk_whatever_is_stored(readers: Readers) -> None:
    chance = random.Random(16)
    read = unread = 0
    for batch in range(BATCHES):
        keys = _filled(readers, chance, batch, tidy=batch % 3 == 0)
        given, as_of = _given(chance, len(keys)), NOW_US + np.arange(len(keys), dtype=np.int64)

        expected = await readers.sdk.read(keys, as_of, given)
        actual = await readers.compiled.read(keys, as_of, given)

        assert _unread(expected) == _unread(actual)
        np.testing.assert_array_equal(expected.values, actual.values)
        sound = ~np.array(_unread(actual))
        assert expected.event_times is not None
        assert actual.event_times is not None
        np.testing.assert_array_equal(expected.event_times[sound], actual.event_times[sound])
        read, unread = read + int((~np.isnan(actual.values)).sum()), unread + sum(_unread(actual))

    assert read > BATCHES * AT_ONCE * 4, "too few values were compared to say anything"
    assert unread > BATCHES * 3, "too few rows could not be read to say anything"


async def test_a_row_read_alone_equals_the_same_row_read_with_others(readers: Readers) -> None:
    chance = random.Random(17)
    keys = _filled(readers, chance, BATCHES + 1, tidy=False)
    given = _given(chance, len(keys))

    together = await readers.compiled.read(keys, NOW_US, given)

    for row, key in enumerate(keys):
        alone = await readers.compiled.read([key], NOW_US, {name: [column[row]] for name, column in given.items()})
        np.testing.assert_array_equal(together.values[[row]], alone.values)
        assert _unread(together)[row] == _unread(alone)[0]


async def test_both_readers_equal_a_plain_call_of_feast(readers: Readers) -> None:
    chance = random.Random(18)
    keys = _filled(readers, chance, BATCHES + 2, tidy=True)
    given = _given(chance, len(keys))
    rows = [
        {"household_id": household, "department": department, "as_of": NOW_US, "coupon": coupon, "channel": channel}
        for (household, department), coupon, channel in zip(keys, given["coupon"], given["channel"], strict=True)
    ]
    service = readers.store.get_feature_service("typed")
    answered = readers.store.get_online_features(features=service, entity_rows=rows).to_dict()

    def number(reference: str, value: Any, element: int | None) -> float:
        if value is None:
            return np.nan
        if reference in VOCABULARIES:
            vocabulary = VOCABULARIES[reference]
            return vocabulary.index(value) if value in vocabulary else -1
        if isinstance(value, datetime):
            return value.timestamp()
        return float(value if element is None else value[element])

    expected = np.column_stack(
        [
            [number(given.reference, value, given.element) for value in answered[given.field_name]]
            for given in readers.contract.inputs
        ]
    )
    for reader in (readers.compiled, readers.sdk):
        raw = await reader.read(keys, NOW_US, given)
        assert not any(_unread(raw))
        np.testing.assert_array_equal(expected, raw.values)


async def test_a_field_is_read_by_the_vocabularies_of_two_models(readers: Readers, feast: TinyFeast) -> None:
    chance = random.Random(19)
    keys = _filled(readers, chance, BATCHES + 3, tidy=True)
    other = {"people__income": ("middle", "new money"), "offer__way": ("PHONE",)}
    challenger = readers.contract.model_copy(
        update={
            "inputs": tuple(
                given.model_copy(
                    update={"vocabulary": other[given.reference], "codes": Vocabulary(other[given.reference])}
                )
                for given in readers.contract.inputs
                if given.reference in other
            )
        }
    )
    contracts = readers.contract, challenger
    union = FeatureUnion.of(*contracts)
    given = _given(chance, len(keys))

    opened = open_feast(feast.repo, feast.artefacts, *contracts, stall_seconds=30).features
    raw = await opened.read(keys, NOW_US, given)
    await opened.close()

    alone = await readers.compiled.read(keys, NOW_US, given)
    of_champion, of_challenger = (union.part(contract).of(raw).values for contract in contracts)
    np.testing.assert_array_equal(alone.values, of_champion)
    for column, of_other in zip(challenger.inputs, of_challenger.T, strict=True):
        own = readers.contract.feature_names.index(column.name)
        codes = alone.values[:, own]
        texts = [VOCABULARIES[column.name][int(code)] if code >= 0 else "?" for code in codes]
        both = np.array([text in other[column.name] for text in texts])
        np.testing.assert_array_equal(
            [float(other[column.name].index(text)) for text in texts if text in other[column.name]], of_other[both]
        )
        np.testing.assert_array_equal(np.isnan(codes), np.isnan(of_other))


async def test_on_demand_code_gets_every_join_key_under_its_name(readers: Readers) -> None:
    seen: list[dict[str, Any]] = []
    assert isinstance(readers.compiled, RedisFeatures)
    (view,) = readers.compiled._plan.groups[0].on_demand
    transform = view.transform

    def watched(inputs: dict[str, Any]) -> Any:
        seen.append(dict(inputs))
        return transform(inputs)

    object.__setattr__(view, "transform", watched)

    await readers.compiled.read([(7, "dairy"), (2**53 + 1, "")], NOW_US, {"coupon": [1.0, 2.0], "channel": ["web", ""]})

    (inputs,) = seen
    assert ([7, 2**53 + 1], ["dairy", ""]) == (inputs["household_id"], inputs["department"])
    assert ([1.0, 2.0], ["web", ""]) == (inputs["coupon"], inputs["channel"])
