"""What every integration test may rely on."""

import os
from collections.abc import Iterator
from unittest import mock

import pytest

from jobs import feature_store
from tests.servers import forked


@pytest.fixture(scope="module", autouse=True)
def _environment_is_put_back() -> Iterator[None]:
    """Feast reads its addresses from the process's environment, so opening it changes that."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def _feast_is_imported_once() -> Iterator[None]:
    """For every `feast apply` of the jobs in this process; commands that tests start are as they are."""
    with mock.patch.object(feature_store, "subprocess", forked):
        yield
