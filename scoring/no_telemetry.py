"""Switches the libraries' telemetry off; must be imported before them.

Overrides the environment. The images and the Makefile set the same variables for commands that load none of our rooms,
such as MLflow's server.
"""

import os

OFF = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "true",  # MLflow and others
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime; also stops its device id
}

os.environ.update(OFF)
