"""What `make publish` tells docker, helm and cosign, which stand-ins on the path write down."""

import os
from pathlib import Path

import pytest

from deploy.image.publish import main

INDEX, CHART = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
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
        (tmp_path / f"release-{processor}/sbom.json").touch()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    return told


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
    subject = f"registry.example.org/shop/churn-service@{INDEX}"
    assert [
        f"cosign attest --yes --type cyclonedx --predicate {tmp_path}/release-{one}/sbom.json {subject}"
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


def test_what_a_program_says_when_it_fails_is_shown(
    told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin/helm").write_text("#!/bin/sh\necho 'Error: denied' >&2\nexit 1\n")

    assert 1 == _publish(tmp_path)
    assert "Error: denied\nerror: helm push failed; see its output above\n" == capsys.readouterr().err
    assert "cosign" not in (told.read_text() if told.exists() else "")
