from pathlib import Path

import pytest

from artefacts.addresses import PROJECT_ROOT, Artefacts, embedded_redis_url_file
from contract import ContractError


def test_addresses_default_to_the_var_folder(tmp_path: Path) -> None:
    assert Artefacts(
        use_case=PROJECT_ROOT / "training/churn",
        redis_url=None,
        feast_registry=str(tmp_path / "var/feast/registry.db"),
        offline_store=tmp_path / "var/offline_store",
        materialize_runs=tmp_path / "var/materialize/runs.jsonl",
        mlflow_tracking_uri=f"sqlite:///{tmp_path / 'var/mlflow/mlflow.db'}",
        model_tag=tmp_path / "var/model_tag",
        challenger=tmp_path / "var/challenger.json",
        inference_log=tmp_path / "var/inference_log",
    ) == Artefacts.of({}, tmp_path)


def test_addresses_of_the_environment_win(tmp_path: Path) -> None:
    environ = {
        "USE_CASE": "/cases/spend",
        "REDIS_URL": "redis://elsewhere:1",
        "FEAST_REGISTRY": "s3://bucket/registry.db",
        "OFFLINE_STORE_DIR": "/data/features",
        "MATERIALIZE_RUNS_PATH": "/log/runs.jsonl",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MODEL_TAG_PATH": "/data/tag",
        "CHALLENGER_PATH": "/data/challenger.json",
        "INFERENCE_LOG_DIR": "/log/answers",
    }

    assert Artefacts(
        use_case=Path("/cases/spend"),
        redis_url="redis://elsewhere:1",
        feast_registry="s3://bucket/registry.db",
        offline_store=Path("/data/features"),
        materialize_runs=Path("/log/runs.jsonl"),
        mlflow_tracking_uri="http://mlflow:5000",
        model_tag=Path("/data/tag"),
        challenger=Path("/data/challenger.json"),
        inference_log=Path("/log/answers"),
    ) == Artefacts.of(environ, tmp_path)


def test_another_use_case_has_a_pin_a_challenger_and_a_log_of_its_own(tmp_path: Path) -> None:
    churn, spend = Artefacts.of({}, tmp_path), Artefacts.of({"USE_CASE": "use_cases/spend"}, tmp_path)

    own = tmp_path / "var/use_cases/spend"
    assert [own / "model_tag", own / "challenger.json", own / "inference_log"] == [
        *(spend.model_tag, spend.challenger, spend.inference_log)
    ]
    assert (churn.feast_registry, churn.offline_store) == (spend.feast_registry, spend.offline_store)
    assert churn.feature_repo == spend.feature_repo


def test_a_use_case_with_its_own_feature_repository_has_an_offline_store_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "use_cases/spend/feature_repo").mkdir(parents=True)

    spend = Artefacts.of({"USE_CASE": str(tmp_path / "use_cases/spend")}, tmp_path)

    assert tmp_path / "use_cases/spend/feature_repo" == spend.feature_repo
    assert tmp_path / "var/use_cases/spend/offline_store" == spend.offline_store
    assert tmp_path / "var/use_cases/spend/materialize/runs.jsonl" == spend.materialize_runs
    assert Artefacts.of({}, tmp_path).feast_registry == spend.feast_registry


def test_a_use_case_that_names_another_shares_its_features_and_keeps_its_own_pin(tmp_path: Path) -> None:
    spend, then = tmp_path / "use_cases/spend", tmp_path / "use_cases/next"
    (spend / "feature_repo").mkdir(parents=True)
    then.mkdir()
    (then / "features_of").write_text(f"{spend}\n")

    owner, sharer = (Artefacts.of({"USE_CASE": str(folder)}, tmp_path) for folder in (spend, then))

    assert spend == sharer.features_of
    assert owner.feature_repo == sharer.feature_repo
    assert owner.offline_store == sharer.offline_store
    assert owner.materialize_runs == sharer.materialize_runs
    assert tmp_path / "var/use_cases/next/model_tag" == sharer.model_tag


def test_a_folder_that_has_no_features_to_share_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "features_of").write_text("use_cases/absent\n")

    with pytest.raises(ContractError, match=r"features_of: .*/use_cases/absent is no use case with a feature_repo/"):
        Artefacts.of({"USE_CASE": str(tmp_path)}, tmp_path)


def test_the_address_of_redis_may_come_in_a_file_as_secrets_do(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://serving:secret@redis/0\n")

    assert "redis://serving:secret@redis/0" == Artefacts.of({"REDIS_URL_FILE": str(file)}, tmp_path).redis_url
    assert "redis://a" == Artefacts.of({"REDIS_URL_FILE": str(file), "REDIS_URL": "redis://a"}, tmp_path).redis_url


def test_a_file_without_an_address_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"REDIS_URL_FILE: .*/absent cannot be read: No such file"):
        Artefacts.of({"REDIS_URL_FILE": str(tmp_path / "absent")}, tmp_path)


def test_the_embedded_server_is_used_only_when_redis_url_is_not_set(tmp_path: Path) -> None:
    recorded = embedded_redis_url_file(tmp_path)
    recorded.parent.mkdir(parents=True)
    recorded.write_text("redis://127.0.0.1:7777/0\n")

    assert "redis://127.0.0.1:7777/0" == Artefacts.of({}, tmp_path).redis_url
    assert "redis://127.0.0.1:7777/0" == Artefacts.of({"REDIS_URL": ""}, tmp_path).redis_url
    assert "redis://elsewhere:1" == Artefacts.of({"REDIS_URL": "redis://elsewhere:1"}, tmp_path).redis_url


def test_feast_is_told_of_registry_offline_store_and_redis(tmp_path: Path) -> None:
    artefacts = Artefacts.of({"REDIS_URL": "redis://r:1/2"}, tmp_path)

    assert {
        "FEAST_REGISTRY": artefacts.feast_registry,
        "OFFLINE_STORE_DIR": str(artefacts.offline_store),
        "REDIS_TYPE": "redis",
        "REDIS_SENTINEL_MASTER": "none",
        "REDIS_CONNECTION_STRING": "r:1,db=2,socket_timeout=0.1",
    } == artefacts.feast_environment({"socket_timeout": "0.1"})


@pytest.mark.parametrize(
    ("url", "kind", "master"),
    [
        ("redis+sentinel://s1,s2/features", "redis_sentinel", "features"),
        ("redis+cluster://n1,n2", "redis_cluster", "none"),
    ],
)
def test_feast_is_told_what_kind_of_redis_it_is(tmp_path: Path, url: str, kind: str, master: str) -> None:
    variables = Artefacts.of({"REDIS_URL": url}, tmp_path).feast_environment()

    assert (kind, master) == (variables["REDIS_TYPE"], variables["REDIS_SENTINEL_MASTER"])


def test_a_redis_url_that_cannot_be_used_is_refused_without_repeating_its_password(tmp_path: Path) -> None:
    for url in ("redis://:hunter2@localhost:port", "redis://:hunter2%2C@localhost"):
        with pytest.raises(ContractError, match="REDIS_URL") as caught:
            Artefacts.of({"REDIS_URL": url}, tmp_path).feast_environment()

        assert "hunter2" not in str(caught.value)


def test_without_redis_feast_gets_an_address_that_cannot_answer(tmp_path: Path) -> None:
    variables = Artefacts.of({}, tmp_path).feast_environment()

    assert ("redis", "redis-url-not-set:0") == (variables["REDIS_TYPE"], variables["REDIS_CONNECTION_STRING"])


@pytest.mark.parametrize("folder", ["what?", "two\nlines"])
def test_a_project_in_a_folder_that_the_database_cannot_name_is_refused_with_the_way_out(
    tmp_path: Path, folder: str
) -> None:
    with pytest.raises(ContractError, match=r"move the project, or set MLFLOW_TRACKING_URI"):
        Artefacts.of({}, tmp_path / folder)

    elsewhere = Artefacts.of({"MLFLOW_TRACKING_URI": "http://mlflow:5000"}, tmp_path / folder)
    assert "http://mlflow:5000" == elsewhere.mlflow_tracking_uri
