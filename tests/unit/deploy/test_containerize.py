"""What of building an image can be said without building one; tests/e2e/test_container.py builds it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bentoml import Tag

from deploy.image import inventory, sbom
from deploy.image.builder import ImageError, find_builder
from deploy.image.containerize import authorities, containerize, labels, pip_configuration, size_table
from deploy.image.sbom import bill_of_materials
from tests.loop import SOURCE

FOUND: Any = {
    "python": [
        {"name": "numpy", "version": "2.4.6", "bytes": 54_000_000},
        {"name": "Jinja2", "version": "3.1.6", "bytes": 1_000_000},
        {"name": "typing_extensions", "version": "4.16.0", "bytes": 200_000},
    ],
    "debian": [{"name": "libc6", "version": "2.36-9", "architecture": "amd64", "bytes": 13_000_000}],
}
LABELS = {
    "org.opencontainers.image.version": "0.1.0",
    "org.opencontainers.image.revision": "",
    "model-service.bento": "churn:a",
}


def all_work(_: str) -> bool:
    return True


def none_works(_: str) -> bool:
    return False


def test_the_first_builder_that_works_is_taken() -> None:
    assert "docker" == find_builder(works=all_work).name
    assert "podman" == find_builder(works=lambda name: name != "docker").name
    assert "buildah" == find_builder("buildah", works=all_work).name


def test_where_none_works_all_three_are_named() -> None:
    with pytest.raises(ImageError, match="none of docker, podman and buildah"):
        find_builder(works=none_works)
    with pytest.raises(ImageError, match=r"^buildah can"):
        find_builder("buildah", works=none_works)
    with pytest.raises(ImageError, match="'kaniko', not one of docker, podman, buildah"):
        find_builder("kaniko")


def test_pip_in_the_build_is_told_the_machines_index_and_authorities_and_nothing_else() -> None:
    told = pip_configuration(
        {"PIP_INDEX_URL": "https://index.example/simple", "SSL_CERT_FILE": "/ca.crt", "A": "b"}, ""
    )

    assert "[global]\nindex-url = https://index.example/simple\ncert = /run/secrets/ca.pem\n" == told
    assert "[global]\nindex-url = https://configured.example/\n" == pip_configuration({}, "https://configured.example/")
    assert "[global]\n" == pip_configuration({}, "")


def test_pips_own_authorities_go_before_those_of_the_machine() -> None:
    assert Path("/pip.crt") == authorities({"SSL_CERT_FILE": "/ssl.crt", "PIP_CERT": "/pip.crt"})
    assert authorities({}) is None


def test_packages_beyond_the_lock_are_a_build_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    info = SimpleNamespace(labels={}, all_models=[SimpleNamespace(tag="churn:v1")])
    bento: Any = SimpleNamespace(tag=Tag("churn", "abc"), info=info)
    monkeypatch.setattr("bentoml.export_bento", lambda *_, **__: None)
    asked: list[list[str]] = []
    builder: Any = SimpleNamespace(build=lambda _context, _image, options: asked.append(options))

    containerize(builder, bento, "churn:abc", ())
    containerize(builder, bento, "churn:abc", (), "psycopg psycopg-binary")

    without, having = ([o for o in options if o.startswith("--build-arg=EXTRA")] for options in asked)
    assert ([], ["--build-arg=EXTRA=psycopg psycopg-binary"]) == (without, having)


def test_an_image_is_labelled_with_what_leads_back_to_its_source() -> None:
    info = SimpleNamespace(
        labels={"version": "0.1.0", "commit": "c0ffee"}, all_models=[SimpleNamespace(tag="churn:v1")]
    )
    bento: Any = SimpleNamespace(tag=Tag("churn", "abc"), info=info)

    assert {
        "org.opencontainers.image.title": "churn-service",
        "org.opencontainers.image.version": "0.1.0",
        "org.opencontainers.image.revision": "c0ffee",
        "model-service.bento": "churn:abc",
        "model-service.model": "churn:v1",
    } == labels(bento)


def test_sizes_are_listed_from_the_largest_and_add_up() -> None:
    rows = [line.strip("| ").split(" | ") for line in size_table(FOUND, 200_000_000).splitlines()]

    assert ["the image", "200 MB"] == rows[0]
    assert ["Python packages, 3", "55 MB"] == rows[1]
    assert ["the base, Python itself, model and Bento", "145 MB"] == rows[2]
    assert ["numpy 2.4.6", "Jinja2 3.1.6", "typing_extensions 4.16.0"] == [name for name, _ in rows[3:]]


def test_a_bill_of_materials_names_each_package_as_its_registry_does() -> None:
    bill = json.loads(bill_of_materials("churn:a", LABELS, FOUND))

    assert {
        "pkg:pypi/numpy@2.4.6",
        "pkg:pypi/jinja2@3.1.6",
        "pkg:pypi/typing-extensions@4.16.0",
        "pkg:deb/debian/libc6@2.36-9?arch=amd64",
    } == {component["purl"] for component in bill["components"]}
    assert ("CycloneDX", "churn:a", "0.1.0") == (
        bill["bomFormat"],
        bill["metadata"]["component"]["name"],
        bill["metadata"]["component"]["version"],
    )


def test_the_image_of_the_jobs_has_one_without_a_bento(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USE_CASE", raising=False)
    found = {"churn-jobs:latest": FOUND}
    builder = SimpleNamespace(name="docker", python=lambda image, _code: found[image])
    monkeypatch.setattr(sbom, "find_builder", lambda _: builder)

    assert 0 == sbom.main(["--jobs", f"--out={tmp_path / 'release/jobs-sbom.json'}"])

    bill = json.loads((tmp_path / "release/jobs-sbom.json").read_text())
    assert ("churn-jobs:latest", len(FOUND["python"]) + 1) == (
        bill["metadata"]["component"]["name"],
        len(bill["components"]),
    )


def test_the_inventory_finds_what_is_installed_and_how_large_it_is() -> None:
    found = {str(each["name"]): each for each in inventory.distributions()}

    assert found["numpy"]["version"] == __import__("numpy").__version__
    assert int(str(found["numpy"]["bytes"])) > 20_000_000


def test_what_is_installed_in_the_image_is_installed_by_hash_alone() -> None:
    install = (SOURCE / "deploy" / "image" / "Containerfile").read_text().partition("pip install")[2].partition("&&")[0]

    assert {"--require-hashes", "--no-deps", "--only-binary", ":all:"} <= set(install.split())
