"""Debian's chromium, driven by Playwright, and the console as a person uses it."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Locator, Page, sync_playwright

PROGRAM = shutil.which("chromium")
WIDE, PHONE = (1100, 900), (360, 740)
ANSWER_SECONDS = 30
"""The first explanation loads scikit-learn."""
FIGURE_HEIGHT = 1700
FIGURES = "CONSOLE_FIGURES"
"""Variable with the folder in which tests leave pictures of the console."""


def chromium_is_there() -> bool:
    """True in CI, where a test without it fails."""
    return PROGRAM is not None or os.environ.get("CI") == "true"


needs_chromium = pytest.mark.skipif(not chromium_is_there(), reason="chromium is not installed")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Everything in it is ours, so it needs no sandbox, which root could not have."""
    assert PROGRAM is not None, "chromium is not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Console:
    """One opened page, and what happened in it.

    requested: URLs, in order.
    complaints: scripts' errors, and what the policy blocked.
    """

    page: Page
    url: str
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def opened(
        cls,
        browser: Browser,
        url: str,
        size: tuple[int, int] = WIDE,
        scheme: Literal["light", "dark"] = "light",
        path: str = "/",
    ) -> Iterator["Console"]:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
        )
        page = context.new_page()
        page.set_default_timeout(1000 * ANSWER_SECONDS)
        console = cls(page, url)
        page.on("request", lambda request: console.requested.append(request.url))
        page.on("pageerror", lambda error: console.complaints.append(str(error)))
        page.on("console", lambda said: console.complaints.append(said.text) if "Policy" in said.text else None)
        page.goto(url + path)
        try:
            yield console
        finally:
            context.close()

    def ask(self, *rows: Mapping[str, object]) -> None:
        """Fill in one row per entity, by the names of its fields, and wait for the answer."""
        self.fill(*rows)
        self.page.get_by_role("button", name="Score", exact=True).click()
        self.page.locator("#answer, #batch").locator("visible=true").first.wait_for()

    def fill(self, *rows: Mapping[str, object]) -> None:
        self.page.locator("#rows fieldset").first.wait_for()
        for at, row in enumerate(rows):
            if at:
                self.page.get_by_role("button", name="Add a row").click()
            for name, value in row.items():
                one = self.page.get_by_role("group", name=f"Row {at + 1}").get_by_label(name, exact=True)
                if one.evaluate("field => field.tagName") == "SELECT":
                    one.select_option(str(value))
                else:
                    one.fill(str(value))

    def what_if(self, feature: str, view: str, value: object) -> None:
        """Type another value of a feature, and wait for the score."""
        named = self.page.get_by_label(f"New value of {feature} of {view}", exact=True)
        if named.evaluate("field => field.tagName") == "SELECT":
            named.select_option(str(value))
        else:
            named.fill(str(value))
        self.page.locator("#moved").wait_for()

    def text(self, place: str) -> str:
        return self.page.locator(place).inner_text()

    @property
    def score(self) -> str:
        return self.text("#answer .score")

    def row(self, name: str) -> Locator:
        """A feature's row, by its short name."""
        return self.page.locator("#features tbody tr").filter(has=self.page.get_by_text(name, exact=True))

    def feature(self, name: str) -> dict[str, str]:
        """Cells of a feature's row, by column."""
        cells: dict[str, str] = (
            self.row(name)
            .locator("td")
            .evaluate_all("cells => Object.fromEntries(cells.map(cell => [cell.dataset.label, cell.innerText.trim()]))")
        )
        return cells

    def features(self) -> Sequence[str]:
        return self.page.locator("#features tbody th .name").all_inner_texts()

    def faults(self) -> list[str]:
        """What axe-core finds against WCAG 2.1 AA and its good practices."""
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        return [f"{fault['impact']}: {fault['id']} at {[node['target'] for node in fault['nodes']]}" for fault in found]

    def figure(self, name: str) -> None:
        """Keep what is seen as a figure of the docs, if this run makes figures (docs/console.md)."""
        if not (folder := os.environ.get(FIGURES)):
            return
        tall = self.page.evaluate("document.documentElement.scrollHeight")
        size = self.page.viewport_size
        assert size is not None
        shown = FloatRect(x=0, y=0, width=size["width"], height=min(tall, FIGURE_HEIGHT))
        shot = self.page.screenshot(full_page=True, clip=shown)
        image = Image.open(BytesIO(shot)).convert("RGB").quantize(64)
        image.save(Path(folder) / f"console-{name}.png", optimize=True)

    def check(self) -> None:
        """What must hold of the page at any time."""
        assert [] == self.faults()
        assert [] == self.complaints
        assert {urlsplit(self.url).netloc} == {urlsplit(url).netloc for url in self.requested if url[:5] != "data:"}
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        assert ("", "") == (urlsplit(self.page.url).query, urlsplit(self.page.url).fragment)
