"""What a model promises and how raw feature values become its input: the one room every plane shares.

Pure: pydantic and numpy, no feast, no mlflow, no bentoml, no I/O beyond the text it is handed.
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
from contract.model_contract import (
    DecisionThreshold,
    FeatureInput,
    Label,
    ModelContract,
    Population,
    TrainingDistribution,
)
from contract.raw_features import RawFeatures
from contract.resolve import (
    FeatureIssue,
    FeatureState,
    ResolvedFeatures,
    Resolver,
)

__all__ = [
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
    "Label",
    "ModelContract",
    "OverrideError",
    "Population",
    "RawFeatures",
    "RequestInput",
    "ResolvedFeatures",
    "Resolver",
    "SourceView",
    "TrainingDistribution",
    "content_sha256",
    "differences",
]
