"""The service takes Feast's configuration as it is written, but for the store that it never reads."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from scoring.feast.store import read_config
from service.errors import StartupError
from service.features.opening import open_store
from tests.integration.service.conftest import TinyFeast
from tests.loop import SOURCE

OPEN = """
import sys
sys.modules.update(dict.fromkeys(["duckdb", "ibis", "pyspark", "dask", "mlflow"]))  # as if they were not installed
from pathlib import Path
from contract import ModelContract
from artefacts.addresses import Artefacts
from service.features.opening import open_store
artefacts = Artefacts.model_validate_json(sys.argv[2])
print(open_store(Path(sys.argv[1]), artefacts, ModelContract.model_validate_json(sys.argv[3])).store.project)
"""


def test_the_online_store_and_the_registry_are_as_feast_reads_them(
    feast: TinyFeast, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast import FeatureStore

    addresses = feast.artefacts.feast_environment()
    for name, value in addresses.items():
        monkeypatch.setenv(name, value)
    theirs = FeatureStore(repo_path=str(feast.repo)).config
    for name in addresses:
        monkeypatch.delenv(name)
    ours = read_config(feast.repo, addresses, reads_offline=False)

    assert theirs.online_store == ours.online_store
    assert theirs.registry == ours.registry
    assert theirs.project == ours.project


def test_a_store_is_opened_where_the_packages_of_the_offline_store_are_not_installed(feast: TinyFeast) -> None:
    arguments = [str(feast.repo), feast.artefacts.model_dump_json(), feast.contract().model_dump_json()]

    done = subprocess.run(
        [sys.executable, "-c", OPEN, *arguments], cwd=SOURCE, capture_output=True, text=True, timeout=120, check=False
    )

    assert (0, "tiny") == (done.returncode, done.stdout.strip()), done.stderr


def test_feasts_variable_for_another_file_is_obeyed(feast: TinyFeast, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text((feast.repo / "feature_store.yaml").read_text().replace("project: tiny", "project: other"))

    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys; from pathlib import Path; from scoring.feast.store import read_config\n"
            "print(read_config(Path(sys.argv[1]), {}, reads_offline=False).project)",
            str(feast.repo),
        ],
        cwd=SOURCE,
        env={**os.environ, **feast.artefacts.feast_environment(), "FEAST_FS_YAML_FILE_PATH": str(other)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (0, "other") == (done.returncode, done.stdout.strip()), done.stderr


def test_a_configuration_that_is_wrong_is_told_in_one_line_without_its_values(feast: TinyFeast, tmp_path: Path) -> None:
    value = "ep1gram"
    text = (feast.repo / "feature_store.yaml").read_text()
    connection = "connection_string: '${REDIS_CONNECTION_STRING}'"
    assert connection in text
    (tmp_path / "feature_store.yaml").write_text(text.replace(connection, f"connection_string: ['{value}']"))

    with pytest.raises(StartupError) as refused:
        open_store(tmp_path, feast.artefacts, feast.contract())

    assert f"connection_string: Input should be a valid string at {tmp_path}/feature_store.yaml" == str(refused.value)
    assert value not in "".join(traceback.format_exception(refused.value))
