"""What `make publish` tells docker, helm and cosign, which stand-ins on the path write down."""

import json
import os
from pathlib import Path

import pytest

from deploy.image.publish import main
from deploy.image.sbom import bill_of_materials

INDEX, CHART = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
BENTO = {"model-service.bento": "churn:a", "model-service.model": "customer_churn:v1-0a"}
IMAGE, JOBS_IMAGE = "registry.example.org/shop/churn-service:v1", "registry.example.org/shop/churn-jobs:v1"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the programs write their arguments to."""
    programs, told = tmp_path / "bin", tmp_path / "told"
    programs.mkdir()
    for name, answer in {"docker": f'{{"digest":"{INDEX}"}}', "helm": f"Digest: {CHART}", "cosign": ""}.items():
        program = programs / name
        stream = 2 if name == "helm" else 1  # as helm 3 does
        program.write_text(f"#!/bin/sh\necho {name} \"$@\" >> '{told}'\necho '{answer}' >&{stream}\n")
        program.chmod(0o755)
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart/model-service-0.1.0.tgz").touch()
    for processor in ("amd64", "arm64"):
        (tmp_path / f"release-{processor}").mkdir()
        (tmp_path / f"release-{processor}/sbom.json").write_text(_bill(BENTO, processor))
        (tmp_path / f"release-{processor}/jobs-sbom.json").touch()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    return told


def _bill(labels: dict[str, str], architecture: str) -> str:
    package = {"name": "libc6", "version": "2.36-9", "architecture": architecture, "bytes": 1}
    return bill_of_materials("churn:a", labels, {"python": [], "debian": [package]})


def _publish(folder: Path, image: str = IMAGE) -> int:
    paths = ["--charts", str(folder / "chart"), "--boms", str(folder)]
    return main(["--image", image, "--jobs-image", JOBS_IMAGE, *paths])


def test_each_image_is_one_name_for_both_processors(told: Path, tmp_path: Path) -> None:
    assert 0 == _publish(tmp_path)

    joined = [line for line in told.read_text().splitlines() if "imagetools create" in line]
    assert [
        f"docker buildx imagetools create --tag {name} {name}-amd64 {name}-arm64" for name in (IMAGE, JOBS_IMAGE)
    ] == joined


def test_what_is_signed_is_named_by_its_digest(told: Path, tmp_path: Path) -> None:
    _publish(tmp_path)

    signed = [line.split()[-1] for line in told.read_text().splitlines() if line.startswith("cosign sign")]
    attested = [line for line in told.read_text().splitlines() if line.startswith("cosign attest")]
    assert [
        f"registry.example.org/shop/charts/model-service@{CHART}",
        f"registry.example.org/shop/churn-service@{INDEX}",
        f"registry.example.org/shop/churn-jobs@{INDEX}",
    ] == signed
    assert [
        f"cosign attest --yes --type cyclonedx --predicate {tmp_path}/release-{one}/{bill} {subject}@{INDEX}"
        for bill, subject in (
            ("sbom.json", "registry.example.org/shop/churn-service"),
            ("jobs-sbom.json", "registry.example.org/shop/churn-jobs"),
        )
        for one in ("amd64", "arm64")
    ] == attested


def test_the_next_steps_learn_names_and_digests(told: Path, tmp_path: Path) -> None:
    _publish(tmp_path)

    given = dict(line.split("=") for line in (tmp_path / "outputs").read_text().splitlines())
    assert {
        "chart": "registry.example.org/shop/charts/model-service",
        "chart_digest": CHART,
        "image": "registry.example.org/shop/churn-service",
        "image_digest": INDEX,
        "jobs_image": "registry.example.org/shop/churn-jobs",
        "jobs_image_digest": INDEX,
    } == given


def test_nothing_is_published_by_half(told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == _publish(tmp_path, "churn-service:latest")
    (tmp_path / "release-arm64/sbom.json").unlink()
    assert 1 == _publish(tmp_path)

    assert not told.exists()
    assert f"error: no {tmp_path}/release-arm64/sbom.json" == capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"model-service.bento": "churn:b"}, "model-service.bento is churn:a for amd64, churn:b for arm64"),
        (
            {"model-service.model": "customer_churn:v2-0b"},
            "model-service.model is customer_churn:v1-0a for amd64, customer_churn:v2-0b for arm64",
        ),
        ({"model-service.bento": ""}, "model-service.bento is churn:a for amd64, nothing for arm64"),
    ],
)
def test_images_of_two_bentos_are_no_release(
    told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: dict[str, str], said: str
) -> None:
    """The champion may have changed between two builds."""
    (tmp_path / "release-arm64/sbom.json").write_text(_bill(BENTO | labels, "arm64"))

    assert 1 == _publish(tmp_path)

    assert (
        f"error: the images are not of one Bento: {said}; make release-bento packs it once\n" == capsys.readouterr().err
    )
    assert not told.exists()


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"metadata": {"component": {"name": "churn:a"}}})])
def test_what_is_no_bill_of_materials_is_said_and_nothing_is_published(
    told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "release-amd64/sbom.json"
    file.write_text(text)

    assert 1 == _publish(tmp_path)

    assert f"error: {file} is no bill of materials of `make release-images`\n" == capsys.readouterr().err
    assert not told.exists()


def test_what_a_program_says_when_it_fails_is_shown(
    told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin/helm").write_text("#!/bin/sh\necho 'Error: denied' >&2\nexit 1\n")

    assert 1 == _publish(tmp_path)
    assert "Error: denied\nerror: helm push failed; see its output above\n" == capsys.readouterr().err
    assert "cosign" not in (told.read_text() if told.exists() else "")
