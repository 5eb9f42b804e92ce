"""Use cases with own features have projects of their own in the registry and in Redis that they share."""

from pathlib import Path

import pytest

from jobs.errors import JobError
from jobs.feature_store import feature_repositories, refuse_shared_project


def repository(root: Path, use_case: str, project: str) -> Path:
    folder = root / "use_cases" / use_case / "feature_repo"
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(f"project: {project}\nprovider: local\n")
    return folder


def test_repositories_with_projects_of_their_own_are_applied(tmp_path: Path) -> None:
    own = repository(tmp_path, "spend", "spend")
    repository(tmp_path, "returns", "returns")

    refuse_shared_project(own, feature_repositories(tmp_path))


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ("spend", "the same project"),
        ("customer_spend", "the project 'customer_spend', and one name ends with the other"),
        ("end", "the project 'end', and one name ends with the other"),
    ],
)
def test_a_project_that_could_be_taken_for_anothers_is_refused_by_name(project: str, said: str, tmp_path: Path) -> None:
    own, other = repository(tmp_path, "spend", "spend"), repository(tmp_path, "second", project)

    with pytest.raises(JobError) as raised:
        refuse_shared_project(own, feature_repositories(tmp_path))

    assert str(raised.value) == (
        f"{own}/feature_store.yaml: project 'spend': {other}/feature_store.yaml has {said}; use cases share the "
        "registry and Redis, so give one of them another name"
    )


def test_the_repositories_of_this_checkout_can_all_be_applied() -> None:
    for own in feature_repositories():
        refuse_shared_project(own, feature_repositories())


@pytest.mark.parametrize("text", ["", "- project", "project: 7", "project: [", "\x00"])
def test_a_file_that_feast_will_refuse_is_left_to_feast(text: str, tmp_path: Path) -> None:
    own, other = repository(tmp_path, "spend", "spend"), repository(tmp_path, "second", "spend")
    (other / "feature_store.yaml").write_text(text)

    refuse_shared_project(own, feature_repositories(tmp_path))
