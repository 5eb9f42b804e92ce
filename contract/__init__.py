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
from contract.inputs import CategoryDistribution, FeatureInput, TrainingDistribution
from contract.keys import Key, KeyValue, key_of, key_text, key_values
from contract.model_contract import (
    ClassScores,
    Headline,
    Label,
    ModelContract,
    Population,
)
from contract.raw_features import RawFeatures
from contract.resolve import Resolver
from contract.resolved import FeatureIssue, FeatureState, ResolvedFeatures
from contract.tasks import (
    BinaryTask,
    DecisionThreshold,
    MulticlassTask,
    Output,
    RegressionTask,
    Task,
    outputs_of,
)
from contract.values.vocabulary import Vocabulary

__all__ = [
    "BinaryTask",
    "CategoryDistribution",
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
    "Key",
    "KeyValue",
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
    "Vocabulary",
    "content_sha256",
    "differences",
    "key_of",
    "key_text",
    "key_values",
    "outputs_of",
]
