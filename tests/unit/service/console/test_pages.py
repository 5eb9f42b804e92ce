"""The console and Swagger's page as they are sent: their policy, what they load, and where they answer."""

import base64
import hashlib
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from service.console.pages import CONSOLE, SWAGGER, Page, pages
from tests.loop import SOURCE
from tests.unit.service.conftest import OpenApi, error_of, open_api

__all__ = ["open_api"]  # a fixture
FOLDER = SOURCE / "service" / "console"
ASSETS = sorted(path for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js"))
NAMESPACE = "http://www.w3.org/2000/svg"


def policy_of(page: Page) -> dict[str, str]:
    header = dict(page.headers)[b"content-security-policy"].decode()
    return dict(directive.split(" ", 1) for directive in header.split("; "))


def inline(page: Page, tag: str) -> list[str]:
    return re.findall(rf"<{tag}>(.*?)</{tag}>", page.body.decode(), re.DOTALL)


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_consoles_policy_allows_its_one_script_and_style_and_its_own_service() -> None:
    page = pages(console=True)[CONSOLE]
    [script], [style] = inline(page, "script"), inline(page, "style")

    assert {
        "default-src": "'none'",
        "connect-src": "'self'",
        "script-src": hash_of(script),
        "style-src": hash_of(style),
        "img-src": "data:",
        "require-trusted-types-for": "'script'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    } == policy_of(page)


def test_swaggers_policy_allows_the_files_of_this_service_and_one_script() -> None:
    page = pages(console=True)[SWAGGER]
    [script] = inline(page, "script")

    assert {
        "default-src": "'none'",
        "connect-src": "'self'",
        "script-src": f"'self' {hash_of(script)}",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    } == policy_of(page)


@pytest.mark.parametrize("path", [CONSOLE, SWAGGER])
def test_a_page_names_no_other_host_and_works_below_any_prefix(path: str) -> None:
    html = pages(console=True)[path].body.decode()

    assert [] == [url for url in re.findall(r"[a-z]+://[^\s\"'`)]+", html) if url != NAMESPACE]
    assert [] == [url for url in re.findall(r"(?:src|href|action)=\"([^\"]*)\"", html) if url.startswith("/")]


def test_the_console_makes_no_code_of_text_and_keeps_nothing() -> None:
    html = pages(console=True)[CONSOLE].body.decode()
    makes_code = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser"
    keeps = r"localStorage|sessionStorage|indexedDB|document\.cookie|pushState|replaceState|location\.(hash|search)\s*="

    assert [] == re.findall(makes_code, html)
    assert [] == re.findall(keeps, html)
    assert [] == re.findall(r"<[^>]+\s(?:on[a-z]+|style)=", html), "the policy would block them"


@pytest.mark.parametrize("path", ASSETS, ids=lambda path: path.name)
def test_each_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_all_files_of_the_console_are_in_the_page_and_in_the_bento() -> None:
    html = pages(console=True)[CONSOLE].body.decode()
    packed = yaml.safe_load((SOURCE / "bentofile.yaml").read_text())["include"]

    assert [] == [path.name for path in ASSETS if path.name != "page.html" and path.read_text() not in html]
    assert [] == [path.name for path in ASSETS if not any(fnmatch(f"/service/console/{path.name}", p) for p in packed)]


@pytest.mark.parametrize("path", [CONSOLE, SWAGGER])
async def test_a_page_needs_no_key_and_names_request_and_model(open_api: OpenApi, path: str) -> None:
    api = open_api({}, api_keys=f"shop:{'0' * 64}")

    got = await api.client.get(path, headers={"X-Request-ID": "one"})
    head = await api.client.head(path)

    assert (200, "text/html; charset=utf-8", "one") == (
        got.status_code,
        got.headers["content-type"],
        got.headers["x-request-id"],
    )
    assert ("small_churn", "7") == (got.headers["x-model-name"], got.headers["x-model-version"])
    assert ("nosniff", "no-referrer", "no-cache") == tuple(
        got.headers[name] for name in ("x-content-type-options", "referrer-policy", "cache-control")
    )
    assert (200, got.headers["content-length"]) == (head.status_code, head.headers["content-length"])
    assert 0 == api.metric("model_service_requests_total", call="page", outcome="ok", client="anonymous")


@pytest.mark.parametrize("path", [CONSOLE, SWAGGER])
async def test_a_page_takes_no_other_method(open_api: OpenApi, path: str) -> None:
    response = await open_api({}).client.post(path)

    error_of(response, 405, "method_not_allowed")
    assert "GET, HEAD" == response.headers["Allow"]


async def test_without_the_console_its_path_is_not_there_and_swaggers_page_stays(open_api: OpenApi) -> None:
    api = open_api({}, console=False)

    for method in ("GET", "POST"):
        error_of(await api.client.request(method, "/"), 404, "not_found")
    assert 200 == (await api.client.get("/docs")).status_code
