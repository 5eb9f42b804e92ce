"""What `GET /model` says of where a process came from."""

from types import SimpleNamespace
from typing import Any

from service.release import Release
from tests.unit.service.conftest import OpenApi


def bento(**labels: str) -> Any:
    return SimpleNamespace(tag="churn:abc", info=SimpleNamespace(labels=labels))


def test_a_bento_tells_its_tag_and_the_labels_that_the_build_gave_it() -> None:
    release = Release.of(bento(version="1.2.0", commit="c0ffee"), "churn:abc")

    assert Release("1.2.0", "c0ffee", "churn:abc", "churn:abc") == release


def test_what_was_not_known_at_the_build_is_null_not_empty() -> None:
    assert Release("1.2.0", None, "churn:abc", None) == Release.of(bento(version="1.2.0", commit=""), "")


def test_from_the_source_tree_nothing_is_known_but_what_the_settings_say() -> None:
    assert Release() == Release.of(None, "")
    assert "shop/churn:7" == Release.of(None, "shop/churn:7").image


async def test_other_models_do_not_change_what_release_a_process_is(open_api: OpenApi) -> None:
    from dataclasses import replace

    before, other = open_api({}).serving, open_api({}).serving
    released = replace(before, release=Release(version="1.2.0"))

    assert "1.2.0" == released.with_models_of(other).release.version
