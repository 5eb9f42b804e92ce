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
