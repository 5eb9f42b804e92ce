"""The model contract, and the one function that turns raw feature values into model input; every plane uses it.

Pure: pydantic and numpy only. No feast, mlflow or bentoml, and no I/O.
"""

from contract.errors import (
    ContractError,
    ContractMismatchError,
    ContractVersionError,
    OverrideError,
)
from contract.feature_schema import (
    EntityKey,
    FeatureSchema,
    FeatureSpec,
    RequestInput,
    SourceView,
    content_sha256,
    differences,
)
from contract.inputs import FeatureInput, TrainingDistribution
from contract.model_contract import (
    ClassScores,
    Headline,
    Label,
    ModelContract,
    Population,
)
from contract.raw_features import RawFeatures
from contract.resolve import (
    FeatureIssue,
    FeatureState,
    ResolvedFeatures,
    Resolver,
)
from contract.tasks import (
    BinaryTask,
    DecisionThreshold,
    MulticlassTask,
    Output,
    RegressionTask,
    Task,
    outputs_of,
)

__all__ = [
    "BinaryTask",
    "ClassScores",
    "ContractError",
    "ContractMismatchError",
    "ContractVersionError",
    "DecisionThreshold",
    "EntityKey",
    "FeatureInput",
    "FeatureIssue",
    "FeatureSchema",
    "FeatureSpec",
    "FeatureState",
    "Headline",
    "Label",
    "ModelContract",
    "MulticlassTask",
    "Output",
    "OverrideError",
    "Population",
    "RawFeatures",
    "RegressionTask",
    "RequestInput",
    "ResolvedFeatures",
    "Resolver",
    "SourceView",
    "Task",
    "TrainingDistribution",
    "content_sha256",
    "differences",
    "outputs_of",
]
