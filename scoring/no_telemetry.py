"""Imported before the libraries, this keeps them from telling their makers that they are used.

Set whatever the environment says: nobody is asked whose machine this is. The images and the Makefile set the same for
commands that load none of our rooms, as MLflow's server.
"""

import os

OFF = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "true",  # MLflow, and whoever else asks for it
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime, which also keeps a device's id at home
}

os.environ.update(OFF)
