from pathlib import Path

import numpy as np
import yaml

from artefacts.addresses import Artefacts
from benchmarks.online.workload import Workload
from contract import ModelContract
from tests.models.fakes import small_contract


def workload(contract: ModelContract, artefacts: Artefacts) -> Workload:
    return Workload(
        contract=contract,
        model_tag=f"{contract.model_name}:v1",
        redis_url="redis://127.0.0.1:1",
        feature_repo=artefacts.feature_repo,
        keys=["a"],
        as_of_unix_us=0,
        vectors=np.zeros((1, len(contract.inputs)), dtype=np.float32),
        scores=np.zeros(1),
    )


def test_use_cases_that_are_measured_in_one_run_each_read_features_of_their_own_project(tmp_path: Path) -> None:
    projects = {}
    for case, name in (("training/churn", "customer_churn"), ("use_cases/household_spend", "household_spend")):
        contract = small_contract().model_copy(update={"model_name": name})
        artefacts = Artefacts.of({"USE_CASE": case})
        projects[case] = workload(contract, artefacts).environment(artefacts, tmp_path)["FEAST_FS_YAML_FILE_PATH"]

    assert {"training/churn": "churn", "use_cases/household_spend": "household"} == {
        case: yaml.safe_load(Path(file).read_text())["project"] for case, file in projects.items()
    }
