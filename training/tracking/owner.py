"""Whose a registered model is: two use cases with one model name would replace each other's champions."""

from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from training.errors import TrainingError, UseCaseError

USE_CASE: Final = "use_case"
"""Tag of a registered model: folder of the use case that it was trained by. Models of earlier versions have none."""


def refuse_other_owner(client: MlflowClient, name: str, folder: str) -> None:
    """Refuse a registered model of another use case.

    Raises:
        UseCaseError: names both folders and the remedies.
        TrainingError: the registry cannot be read.
    """
    try:
        owner = client.get_registered_model(name).tags.get(USE_CASE, folder)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise TrainingError(f"model {name!r} cannot be read: {str(error).splitlines()[0]}") from None
        return
    if owner != folder:
        raise UseCaseError(
            f"use case {folder}: name: the registered model {name!r} is that of the use case {owner}; give this one "
            f"another name. If the folder was moved, write {folder} into the model's tag {USE_CASE!r} in MLflow"
        )
