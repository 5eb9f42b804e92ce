"""Calls to this machine itself go past every proxy, and other calls as they did."""

import pytest
import requests.utils

from artefacts.process.loopback import keep_loopback_direct

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("given", [None, "no_proxy", "NO_PROXY"])
def test_this_machine_is_asked_directly_and_the_hosts_that_were_named_still_are(
    monkeypatch: pytest.MonkeyPatch, variable: str, given: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    environment = {variable: PROXY} | ({given: "intern.example, 10.0.0.7"} if given else {})

    keep_loopback_direct(environment)

    assert environment["no_proxy"] == environment["NO_PROXY"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for url in ("http://127.0.0.1:5000/", "http://localhost:5000/", "http://[::1]:5000/"):
        assert not requests.utils.get_environ_proxies(url), url
    assert requests.utils.get_environ_proxies("http://far.example/")
    assert bool(given) != bool(requests.utils.get_environ_proxies("http://intern.example/"))


@pytest.mark.parametrize("environment", [{}, {"no_proxy": "a.example"}, {"http_proxy": PROXY, "NO_PROXY": "*"}])
def test_without_a_proxy_or_with_all_hosts_excepted_nothing_is_changed(environment: dict[str, str]) -> None:
    before = dict(environment)

    keep_loopback_direct(environment)

    assert before == environment
