"""Households of which several files audit what was served."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.local import embedded_redis
from tests.integration.jobs.audited_households import Households


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Households]:
    """A panel of households and its Redis."""
    root = tmp_path_factory.mktemp("panel")
    try:
        yield Households.in_folder(root, embedded_redis.start(root=root))
    finally:
        embedded_redis.stop(root=root)


@pytest.fixture
def households(panel: Households, tmp_path: Path) -> Households:
    """The same with a log of the test's own."""
    return panel.logging_to(tmp_path)
