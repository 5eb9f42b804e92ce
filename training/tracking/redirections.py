"""Ignores variables that make MLflow write into another run, experiment or registry than ours.

A version is registered once and never overwritten. So training names its run itself, and no variable may name another.
"""

import os
import sys
from collections.abc import MutableMapping

_HOW_TO_REACH = (
    "MLFLOW_TRACKING_URI",  # a setting of ours, see `artefacts.addresses`
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_WORKSPACE",
    "MLFLOW_ALLOW_HTTP_REDIRECTS",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT",
    "MLFLOW_DOWNLOAD_CHUNK_TIMEOUT",
    "MLFLOW_DISABLE_TELEMETRY",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR",
    "MLFLOW_LOGGING_LEVEL",
    "MLFLOW_PORT",  # of compose
)
_HOW_TO_TRANSFER = (
    "MLFLOW_BOTO_",
    "MLFLOW_ENABLE_MULTIPART_",
    "MLFLOW_ENABLE_PROXY_MULTIPART_",
    "MLFLOW_GCS_",
    "MLFLOW_HTTP_",
    "MLFLOW_KERBEROS_",
    "MLFLOW_MULTIPART_",
    "MLFLOW_MYSQL_SSL_",
    "MLFLOW_S3_",
    "MLFLOW_SQLALCHEMYSTORE_",
)


def ignore_redirections(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove MLflow's variables from the environment, except those for reaching it; print one line that names them."""
    if ignored := take_out_redirections(environ):
        print(f"warning: {', '.join(ignored)}: ignored; runs and versions are ours to name", file=sys.stderr)


def take_out_redirections(environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Do the same silently, for variables that MLflow itself sets when it is configured."""
    ignored = sorted(
        name
        for name in environ
        if name.startswith(("MLFLOW_", "_MLFLOW_"))
        and name not in _HOW_TO_REACH
        and not name.startswith(_HOW_TO_TRANSFER)
    )
    for name in ignored:
        del environ[name]
    return ignored
