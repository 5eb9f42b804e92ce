"""The workflows: make targets that there are, actions nobody can change under us, no more rights than they need."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from artefacts.addresses import PROJECT_ROOT
from deploy.image.publish import PROCESSORS

WORKFLOWS = {
    file.stem: yaml.safe_load(file.read_text()) for file in (PROJECT_ROOT / ".github/workflows").glob("*.yaml")
}
MAKEFILE = (PROJECT_ROOT / "Makefile").read_text()
SIGNS = {"id-token": "write", "attestations": "write"}
"""What cosign and the provenance need: an identity, and a place to keep it."""
RUN = re.compile(r'(?:sudo env "PATH=\$PATH" )?make ((?:[a-z-]+ ?)+)')


def jobs_of(workflow: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from workflow["jobs"].items()


def test_there_is_one_for_each_step_of_the_way() -> None:
    assert {"ci", "contracts", "train", "release"} == WORKFLOWS.keys()


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_a_job_runs_make_targets_that_there_are_and_nothing_else(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    called = [step["run"] for _, job in jobs_of(WORKFLOWS[name]) for step in job["steps"] if "run" in step]

    assert called
    for command in called:
        found = RUN.fullmatch(command)
        assert found, command
        assert set(found.group(1).split()) <= targets, command


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_an_action_is_named_by_its_commit_and_its_version(name: str) -> None:
    text = (PROJECT_ROOT / f".github/workflows/{name}.yaml").read_text()

    used = re.findall(r"uses: (.*)", text)
    assert [line for line in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", line)] == []
    assert len(used) >= len(WORKFLOWS[name]["jobs"])


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_a_job_reads_the_repository_and_ends(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    for job_name, job in jobs_of(WORKFLOWS[name]):
        more = SIGNS if (name, job_name) == ("release", "publish") else {}
        assert job["permissions"] == {"contents": "read", **more}, job_name
        assert job["timeout-minutes"] <= 480, job_name


def test_secrets_and_what_cannot_be_taken_back_are_behind_an_environment() -> None:
    for workflow in WORKFLOWS.values():
        for name, job in jobs_of(workflow):
            if "secrets." in yaml.safe_dump(job) or "self-hosted" in job["runs-on"]:
                assert job.get("environment"), name
    assert WORKFLOWS["release"]["jobs"]["deploy"]["environment"] == "production"
    assert WORKFLOWS["train"]["jobs"]["promote"]["environment"] == "champion"


def test_nothing_of_a_branch_runs_on_machines_that_hold_data() -> None:
    """Whoever may open a pull request may run code in its jobs."""
    for name, workflow in WORKFLOWS.items():
        if "pull_request" in workflow[True]:  # YAML 1.1 takes `on` for yes
            assert all(job["runs-on"] == "ubuntu-24.04" for _, job in jobs_of(workflow)), name
        assert "pull_request_target" not in workflow[True], name


def test_a_secret_reaches_the_step_that_needs_it_and_no_command_line() -> None:
    for workflow in WORKFLOWS.values():
        assert "secrets." not in yaml.safe_dump(workflow.get("env", {}))
        for name, job in jobs_of(workflow):
            assert "secrets." not in yaml.safe_dump(job.get("env", {})), name
            for step in job["steps"]:
                assert "secrets." not in yaml.safe_dump(step.get("run", "")), name
                assert "secrets." not in yaml.safe_dump(step.get("with", {})), name


def test_a_release_is_built_for_both_processors_and_deployed_after_it_is_signed() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    built = {each["processor"]: each["runner"] for each in jobs["image"]["strategy"]["matrix"]["include"]}
    attested = [s["with"]["subject-name"] for s in jobs["publish"]["steps"] if "attest-build" in s.get("uses", "")]

    assert {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"} == built
    assert built.keys() == set(PROCESSORS)
    assert ("image", "publish") == (jobs["publish"]["needs"], jobs["deploy"]["needs"])
    assert ("bento", "make release-bento") == (jobs["image"]["needs"], jobs["bento"]["steps"][2]["run"])
    assert "MLFLOW" not in yaml.safe_dump(jobs["image"]), "the images are of the Bento that was packed before"
    assert [f"${{{{ steps.published.outputs.{name} }}}}" for name in ("image", "jobs_image", "chart")] == attested


def test_updates_are_proposed_for_the_actions() -> None:
    updates = yaml.safe_load((PROJECT_ROOT / ".github/dependabot.yml").read_text())["updates"]

    assert {"github-actions", "docker-compose"} == {each["package-ecosystem"] for each in updates}
    assert all((PROJECT_ROOT / each["directory"].strip("/")).is_dir() for each in updates)
