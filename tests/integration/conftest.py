"""What every integration test may rely on."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _environment_is_put_back() -> Iterator[None]:
    """Feast reads its addresses from the process's environment, so opening it changes that."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
