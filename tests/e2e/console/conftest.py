"""One browser for the tests of each module of the console."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.e2e.console.browser import Console, chromium

OpenConsole = Callable[..., Console]


# As long as Playwright is open, its event loop runs in this thread, and no other test could run one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def open_console(browser: Browser) -> Iterator[OpenConsole]:
    """Opens pages, which are closed when the test ends."""
    with ExitStack() as opened:

        def open_console(url: str, **chosen: Any) -> Console:
            return opened.enter_context(Console.opened(browser, url, **chosen))

        yield open_console
