"""Another version of an imported model beside it in the store: `python -m tests.models.second_model TAG VERSION`.

It keeps the contract but for its version, and is fitted on noise of the training distribution, so that its answers are
recognisably its own. For tests that need two models and no second training. Prints the new tag.
"""

import sys
import tempfile
from pathlib import Path

import bentoml
import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from contract import ModelContract, TrainingDistribution
from scoring.models.model_store import open_model
from tests.models.fakes import store_model
from training.churn.candidates import logistic


def main(tag: str, version: str) -> str:
    """Store it and return its tag."""
    contract = open_model(tag).contract.model_copy(update={"model_version": version})
    second = f"{contract.model_name}:v{version}-second"
    with tempfile.TemporaryDirectory() as folder:
        made = store_model(Path(folder), contract, _pipeline(contract, int(version)))
        with bentoml.models.create(second, module=__name__, labels=made.labels, metadata=made.metadata) as stored:
            for file in made.folder.iterdir():
                (Path(stored.path) / file.name).write_bytes(file.read_bytes())
    return second


def _pipeline(contract: ModelContract, seed: int) -> Pipeline:
    random = np.random.default_rng(seed)
    columns = {
        f.name: random.choice(f.distribution.quantiles, 400)
        for f in contract.inputs
        if isinstance(f.distribution, TrainingDistribution)
    }
    return logistic(seed=seed).fit(pd.DataFrame(columns, dtype=np.float32), random.random(400) < 0.3)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
