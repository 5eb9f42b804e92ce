"""The secrets of `make up`: made once, kept, and known to servers by their hashes."""

import hashlib
import re
from pathlib import Path

import pytest

from artefacts.addresses import Artefacts
from artefacts.redis_address import RedisAddress
from deploy import make_secrets
from service.api.authentication import ApiKeys
from tests.loop import SOURCE


def test_a_second_run_keeps_what_the_first_made(tmp_path: Path) -> None:
    made = make_secrets.make(tmp_path / "secrets", "churn")
    before = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}

    assert sorted(made) == sorted(before)
    assert [] == make_secrets.make(tmp_path / "secrets", "churn")
    assert before == {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}


def test_a_pair_of_which_one_is_gone_is_made_anew_together(tmp_path: Path) -> None:
    make_secrets.make(tmp_path, "churn")
    (tmp_path / "api_key").unlink()

    assert ["api_key", "api_keys"] == make_secrets.make(tmp_path, "churn")


def test_redis_knows_the_passwords_by_their_hashes(tmp_path: Path) -> None:
    make_secrets.make(tmp_path, "churn")
    users = (tmp_path / "redis_users.acl").read_text()

    for user in ("serving", "jobs"):
        address = RedisAddress.of((tmp_path / f"redis_{user}_url").read_text().strip())
        assert user == address.username
        assert address.password not in users
        assert f"user {user} on #{hashlib.sha256(address.password.encode()).hexdigest()} " in users
    assert "{" not in users


def test_the_service_takes_the_first_key(tmp_path: Path) -> None:
    make_secrets.make(tmp_path, "churn")

    keys = ApiKeys.of("", str(tmp_path / "api_keys"))

    assert "first" == keys.authenticate(b"Bearer " + (tmp_path / "api_key").read_bytes().strip())


def test_other_users_of_the_machine_cannot_reach_them(tmp_path: Path) -> None:
    make_secrets.make(tmp_path / "secrets", "churn")

    assert 0o700 == (tmp_path / "secrets").stat().st_mode & 0o777


@pytest.mark.parametrize("user", ["serving", "jobs"])
def test_the_users_have_the_rights_that_the_documentation_gives_them(user: str) -> None:
    """And what those are good for is held by tests/integration/service/redis/test_redis_rights.py."""
    (documented,) = re.findall(rf"^ACL SETUSER {user} on >PASSWORD (.*)$", (SOURCE / "docs/redis.md").read_text(), re.M)
    (line,) = re.findall(rf"^user {user} (.*)$", make_secrets.redis_secrets("churn")["redis_users.acl"], re.M)

    rights = [word for word in line.split() if word[0] in "~%+"]
    assert documented.split() == rights
    assert "resetkeys resetchannels -@all" in line


def a_use_case(root: Path, project_line: str) -> dict[str, str]:
    """A tree with the shipped repository and another use case with one of its own; the environment that names that."""
    for folder, line in (("feature_repo", "project: churn"), ("use_cases/spend/feature_repo", project_line)):
        (root / folder).mkdir(parents=True)
        (root / folder / "feature_store.yaml").write_text(f"# of tests\n{line}\nprovider: local\n")
    (root / "use_cases/shared").mkdir()
    return {"USE_CASE": "use_cases/spend"}


@pytest.mark.parametrize("line", ["project: spend", "project: 'spend'", 'project:  "spend"  # ours'])
def test_the_project_is_that_of_the_use_case(tmp_path: Path, line: str) -> None:
    environ = a_use_case(tmp_path, line)

    assert "spend" == make_secrets.feast_project(environ, tmp_path)
    assert "churn" == make_secrets.feast_project({}, tmp_path)
    assert "churn" == make_secrets.feast_project({"USE_CASE": "use_cases/shared"}, tmp_path)


@pytest.mark.parametrize("environ", [{}, {"USE_CASE": ""}, {"USE_CASE": "use_cases/not_there"}])
def test_the_repository_is_the_one_that_every_process_reads(environ: dict[str, str]) -> None:
    repo = Artefacts.of(environ).feature_repo

    assert f"project: {make_secrets.feast_project(environ)}\n" in (repo / "feature_store.yaml").read_text()


def test_a_repository_without_a_project_is_named(tmp_path: Path) -> None:
    environ = a_use_case(tmp_path, "project: a*b")

    with pytest.raises(make_secrets.SecretsError, match=r"use_cases/spend/.*feature_store\.yaml names no project$"):
        make_secrets.feast_project(environ, tmp_path)


def test_the_secrets_of_another_project_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    make_secrets.make(tmp_path, "churn")

    with pytest.raises(make_secrets.SecretsError, match="lets nobody touch the keys of Feast's project spend"):
        make_secrets.make(tmp_path, "spend")
