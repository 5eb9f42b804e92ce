"""The console at `/` and Swagger's page at `/docs`, each with a policy that lets nothing foreign run.

The console is one response: its style and scripts stand in the page, and the policy allows these by their hashes.
Swagger's own files are those that BentoML ships and serves below `/static_content/`.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.asgi import Headers

CONSOLE, SWAGGER = "/", "/docs"
CONTENT_TYPE = b"text/html; charset=utf-8"
_FOLDER = Path(__file__).parent
_SCRIPTS = (
    *("elements", "words", "http", "contract", "form"),
    *("answer", "waterfall", "distribution", "features", "history", "console"),
)
"""In this order: the last one starts the page."""

_SWAGGER_START = """
SwaggerUIBundle({
  url: "docs.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""
_SWAGGER_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API</title>
<link rel="icon" type="image/png" href="static_content/favicon-light-32x32.png">
<link rel="stylesheet" href="static_content/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script>{_SWAGGER_START}</script>
</body>
</html>
"""


@dataclass(frozen=True)
class Page:
    """A page as it is sent.

    headers: beside those of every answer.
    """

    body: bytes
    headers: Headers


def pages(*, console: bool) -> dict[str, Page]:
    """Path → page.

    Args:
        console: whether the console is among them.
    """
    found = {SWAGGER: _swagger()}
    if console:
        found[CONSOLE] = _console()
    return found


def _console() -> Page:
    style = _text("style.css")
    script = '"use strict";\n' + "".join(_text(f"{name}.js") for name in _SCRIPTS)
    html = _text("page.html")
    html = html.replace("<!-- style -->", f"<style>{style}</style>").replace(
        "<!-- script -->", f"<script>{script}</script>"
    )
    policy = {
        "default-src": "'none'",
        "connect-src": "'self'",
        "script-src": _hash_of(script),
        "style-src": _hash_of(style),
        "img-src": "data:",  # the empty icon, so that none is asked for
        "require-trusted-types-for": "'script'",
    }
    return _page(html, policy)


def _swagger() -> Page:
    policy = {
        "default-src": "'none'",
        "connect-src": "'self'",
        "script-src": f"'self' {_hash_of(_SWAGGER_START)}",
        "style-src": "'self'",
        "img-src": "'self' data:",  # its own stylesheet has pictures as data
    }
    return _page(_SWAGGER_PAGE, policy)


def _page(html: str, policy: Mapping[str, str]) -> Page:
    everywhere = {"frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'"}
    directives = "; ".join(f"{name} {value}" for name, value in {**policy, **everywhere}.items())
    headers = {
        "content-security-policy": directives,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return Page(html.encode(), [(name.encode(), value.encode()) for name, value in headers.items()])


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash_of(inline: str) -> str:
    """What a policy calls an inline script or style (Content Security Policy Level 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"
