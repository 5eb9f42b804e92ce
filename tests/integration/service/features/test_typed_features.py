"""Every type that a model takes, and keys of every form, are read alike from every online store."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytest_asyncio

from contract import Key, ModelContract
from service.features.port import OnlineFeatures
from tests.integration.service.conftest import (
    TinyFeast,
    close_connection,
    contract_over,
    on_postgres,
    on_sqlite,
    tiny_feast,
)
from tests.models.fakes import NOW, NOW_US
from tests.servers.postgres import needs_postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEFINITIONS = """\
import os
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

household = Entity(name="household", join_keys=["household_id"], value_type=ValueType.INT64)
department = Entity(name="department", join_keys=["department"], value_type=ValueType.STRING)
shelf = Entity(name="shelf", join_keys=["shelf_no"], value_type=ValueType.INT32)


def rows_of(view: str) -> FileSource:
    path = os.path.join(os.environ["OFFLINE_STORE_DIR"], f"{view}.parquet")
    return FileSource(name=view, path=path, timestamp_field="event_timestamp")


people = FeatureView(
    name="people",
    entities=[household],
    schema=[
        Field(name="income", dtype=String),
        Field(name="kids", dtype=Int32, tags={"kind": "categorical"}),
        Field(name="since", dtype=UnixTimestamp),
        Field(name="owns", dtype=Bool),
        Field(name="size", dtype=Int32),
        Field(name="taste", dtype=Array(Float32), tags={"width": "3"}),
    ],
    source=rows_of("people"),
)
area = FeatureView(
    name="area",
    entities=[department],
    schema=[Field(name="metres", dtype=Float32), Field(name="size", dtype=Int64)],
    source=rows_of("area"),
)
habits = FeatureView(
    name="habits",
    entities=[household, department],
    schema=[Field(name="spend", dtype=Float64)],
    source=rows_of("habits"),
)
places = FeatureView(
    name="places", entities=[shelf], schema=[Field(name="height", dtype=Float64)], source=rows_of("places")
)
asked = RequestSource(
    name="asked",
    schema=[
        Field(name="as_of", dtype=Int64, tags={"filled_by": "request_time_unix_us"}),
        Field(name="coupon", dtype=Float64),
        Field(name="channel", dtype=String),
    ],
)


@on_demand_feature_view(
    sources=[habits[["spend"]], asked],
    schema=[Field(name="worth", dtype=Float64), Field(name="way", dtype=String)],
    mode="python",
)
def offer(inputs: dict[str, Any]) -> dict[str, Any]:
    if "pigeon" in inputs["channel"]:
        raise ConnectionError("planted")
    worth = [None if None in pair else pair[0] + 1000 * pair[1] for pair in zip(inputs["spend"], inputs["coupon"])]
    return {"worth": worth, "way": [None if channel is None else channel.upper() for channel in inputs["channel"]]}


typed = FeatureService(name="typed", features=[people, area[["metres"]], habits, offer])
same_names = FeatureService(name="same_names", features=[people[["size"]], area[["size"]]])
shelves = FeatureService(name="shelves", features=[places])
"""

VOCABULARIES: dict[str, tuple[Any, ...]] = {
    "people__income": ("high", "low", "middle"),
    "people__kids": (0, 2, 3),
    "offer__way": ("SHOP", "WEB"),
}
SINCE = datetime(1998, 2, 3, 4, 5, 6, tzinfo=UTC)
AT = pd.Timestamp(round(NOW - 60), unit="s", tz="UTC")
ROWS: dict[str, list[dict[str, Any]]] = {
    "people": [
        {
            "household_id": 7,
            "income": "low",
            "kids": 2,
            "since": SINCE,
            "owns": True,
            "size": 4,
            "taste": [0.5, -1.0, 2.0],
        },
        {
            "household_id": 2**53 + 1,
            "income": "new money",
            "kids": 9,
            "since": SINCE,
            "owns": False,
            "size": 1,
            "taste": [0.0, 0.0, 0.0],
        },
        {
            "household_id": 66,
            "income": "low",
            "kids": 2,
            "since": SINCE,
            "owns": True,
            "size": 4,
            "taste": [0.5, -1.0],
        },
        {"household_id": -1, "income": None, "kids": None, "since": None, "owns": None, "size": None, "taste": None},
    ],
    "area": [{"department": "dairy", "metres": 12.5, "size": 40}, {"department": "", "metres": 1.0, "size": 1}],
    "habits": [
        {"household_id": 7, "department": "dairy", "spend": 99.25},
        {"household_id": 2**53 + 1, "department": "wine", "spend": None},
    ],
    "places": [{"shelf_no": 3, "height": 1.5}, {"shelf_no": -(2**31), "height": 2.5}],
}
_DTYPES: dict[str, Any] = {
    **{"household_id": "int64", "shelf_no": "int32", "kids": "Int32", "size": "Int64", "owns": "boolean"},
    **dict.fromkeys(("metres", "spend", "height"), "float64"),
}


def _write(feast: TinyFeast) -> None:
    from feast import FeatureStore

    os.environ.update(feast.artefacts.feast_environment())
    store = FeatureStore(repo_path=str(feast.repo))
    for view, rows in ROWS.items():
        table = pd.DataFrame(rows, dtype=object)
        table = table.astype({name: dtype for name, dtype in _DTYPES.items() if name in table})
        if "since" in table:
            table["since"] = pd.to_datetime(table["since"], utc=True)
        store.write_to_online_store(view, table.assign(event_timestamp=AT))
    close_connection(store)


def contract_of(feast: TinyFeast, feature_service: str) -> ModelContract:
    made = contract_over(feast.schema(feature_service))
    inputs = tuple(given.model_copy(update={"vocabulary": VOCABULARIES.get(given.reference)}) for given in made.inputs)
    return made.model_copy(update={"inputs": inputs})


@pytest.fixture(scope="module", params=["redis", pytest.param("postgres", marks=needs_postgres), "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyFeast:
    """The repository, applied, with `ROWS` in one of the online stores."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "redis":
        feast = tiny_feast(folder, request.getfixturevalue("valkey"), DEFINITIONS)
        feast.apply()
    elif request.param == "postgres":
        feast = on_postgres(folder, request.getfixturevalue("postgres_server"), "typed", DEFINITIONS)
    else:
        feast = on_sqlite(folder, DEFINITIONS)
    _write(feast)
    return feast


Read = Callable[..., Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def read(stored: TinyFeast) -> AsyncIterator[Read]:
    """Reads keys of a feature service; feature reference → n numbers, and the event times."""
    opened: dict[str, tuple[ModelContract, OnlineFeatures]] = {}

    async def read(
        service: str, keys: list[Key], given: dict[str, list[Any]] | None = None, unread: Sequence[int] = ()
    ) -> Any:
        if service not in opened:
            contract = contract_of(stored, service)
            opened[service] = contract, stored.open(contract).features
        contract, features = opened[service]
        raw = await features.read(keys, NOW_US, given)
        assert list(unread) == ([] if raw.unread is None else np.flatnonzero(raw.unread.all(axis=1)).tolist())
        return dict(zip(contract.feature_names, raw.values.T.tolist(), strict=True)), raw.event_times

    yield read
    for _, features in opened.values():
        await features.close()


GIVEN: dict[str, list[Any]] = {"coupon": [1, 0.5, 2.5], "channel": ["web", "phone", None]}
HOUSEHOLDS: list[Key] = [(7, "dairy"), (2**53 + 1, "wine"), (-1, "nowhere")]


async def test_every_type_is_the_number_that_the_contract_promises(read: Read) -> None:
    values, _ = await read("typed", HOUSEHOLDS, GIVEN)

    nan = np.nan
    expected = {
        "people__income": [1, -1, nan],
        "people__kids": [1, -1, nan],
        "people__since": [SINCE.timestamp(), SINCE.timestamp(), nan],
        "people__owns": [1, 0, nan],
        "people__size": [4, 1, nan],
        "people__taste__0": [0.5, 0, nan],
        "people__taste__1": [-1, 0, nan],
        "people__taste__2": [2, 0, nan],
        "area__metres": [12.5, nan, nan],
        "habits__spend": [99.25, nan, nan],
        "offer__worth": [1099.25, nan, nan],
        "offer__way": [1, -1, nan],
    }
    assert expected.keys() == values.keys()
    np.testing.assert_equal(values, expected)


async def test_each_view_is_read_by_its_own_keys_and_has_its_own_event_times(read: Read) -> None:
    _, times = await read("typed", HOUSEHOLDS, GIVEN)

    at = AT.timestamp()
    np.testing.assert_array_equal([[at, at, at], [at, np.nan, at], [at, np.nan, np.nan]], times)


async def test_rows_come_in_the_order_asked_and_as_often(read: Read) -> None:
    keys = [HOUSEHOLDS[i] for i in (2, 0, 0, 1)]
    given = {name: [column[i] for i in (2, 0, 0, 1)] for name, column in GIVEN.items()}

    there, _ = await read("typed", HOUSEHOLDS, GIVEN)
    back, _ = await read("typed", keys, given)

    for name, column in back.items():
        np.testing.assert_array_equal([there[name][i] for i in (2, 0, 0, 1)], column)


async def test_whole_numbers_given_for_a_float_stay_beside_fractions(read: Read) -> None:
    """Feast infers one type for the column from its first value."""
    values, _ = await read("typed", [(7, "dairy")] * 3, {"coupon": [1, 0.5, None], "channel": ["web"] * 3})

    np.testing.assert_array_equal([1099.25, 599.25, np.nan], values["offer__worth"])


async def test_views_with_the_same_feature_name_are_told_apart(read: Read) -> None:
    values, _ = await read("same_names", [(7, "dairy"), (7, "nowhere"), (8, "dairy")])

    np.testing.assert_equal(values, {"people__size": [4, 4, np.nan], "area__size": [40, np.nan, 40]})


async def test_one_int32_key_is_a_bare_number(read: Read) -> None:
    values, _ = await read("shelves", [3, 4, -(2**31)])

    np.testing.assert_equal(values, {"places__height": [1.5, np.nan, 2.5]})


async def test_an_array_of_another_length_costs_its_own_row_alone(read: Read) -> None:
    given = {"coupon": [1.0, 1.0], "channel": ["web", "web"]}

    values, _ = await read("typed", [(7, "dairy"), (66, "dairy")], given, unread=[1])

    np.testing.assert_array_equal([0.5, np.nan], values["people__taste__0"])


async def test_an_error_of_on_demand_code_is_not_the_stores_whatever_its_class(read: Read) -> None:
    given = {"coupon": [1.0, 1.0], "channel": ["web", "pigeon"]}

    values, _ = await read("typed", [(7, "dairy"), (7, "dairy")], given, unread=[1])

    np.testing.assert_array_equal([1099.25, np.nan], values["offer__worth"])
