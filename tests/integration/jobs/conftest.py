"""What several tests of the jobs start from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.local import embedded_redis
from tests.integration.jobs.audited_shop import Shop
from tests.integration.jobs.streaming_shop import StreamingShop


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop to audit and its Redis."""
    root = tmp_path_factory.mktemp("skew")
    try:
        yield Shop.in_folder(root, embedded_redis.start(root=root))
    finally:
        embedded_redis.stop(root=root)


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamingShop]:
    """A shop with a stream, of which each test resets what it uses."""
    shop = StreamingShop.in_folder(tmp_path_factory.mktemp("stream"))
    yield shop
    shop.close()


@pytest.fixture
def shop(world: Shop, tmp_path: Path) -> Shop:
    """The same with a log of the test's own."""
    return world.logging_to(tmp_path)
