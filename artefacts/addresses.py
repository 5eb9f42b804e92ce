"""Addresses of the artefacts that one plane writes and another reads.

Every process finds Redis, the feature registry and the offline store by these rules only.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from artefacts.process.file_access import why_unreadable
from artefacts.process.small_files import read_small_text
from artefacts.redis_address import RedisAddress
from contract.errors import ContractError

PROJECT_ROOT = Path(__file__).resolve().parents[1]
DEFAULT_USE_CASE = Path("training", "churn")
"""The use case that is shipped at the top level; it is no more general than the others."""


class Artefacts(BaseModel):
    """Addresses from the environment; by default below the project's `var/` folder.

    The first word in backticks of each docstring is the environment variable: docs/settings.md is made of them.
    """

    model_config = ConfigDict(frozen=True)

    use_case: Path
    """`USE_CASE`, folder of the use case, below the project's folder or absolute. It says what is trained and served.
    Use cases other than the default keep their pin, challenger and inference log below `var/use_cases/<name>/`.
    """

    redis_url: str | None = Field(repr=False)
    """`REDIS_URL`, the online store where that is Redis: `redis[s]://[user[:password]@]host[:port][/db]`. If it is not
    set, what the file `REDIS_URL_FILE` holds; else the embedded server, if `make redis` has recorded one. Sentinels and
    clusters: docs/redis.md. Other stores: docs/online-stores.md.
    """

    feast_registry: str = Field(repr=False)
    """`FEAST_REGISTRY`, Feast's registry: a path, or an address that Feast understands."""

    offline_store: Path
    """`OFFLINE_STORE_DIR`, folder of the offline store's Parquet files; absolute. Feast's registry keeps this path:
    after a change this checkout's own registry is applied again, another one is refused until `make apply`.
    """

    materialize_runs: Path
    """`MATERIALIZE_RUNS_PATH`, file with one JSON object per line and materialization (docs/materialization.md)."""

    mlflow_tracking_uri: str = Field(repr=False)
    """`MLFLOW_TRACKING_URI`, MLflow's tracking server and model registry."""

    model_tag: Path
    """`MODEL_TAG_PATH`, file that names the imported model in the BentoML store."""

    challenger: Path
    """`CHALLENGER_PATH`, JSON file that names a second model and what it does; absent for none
    (docs/live-models.md).
    """

    inference_log: Path
    """`INFERENCE_LOG_DIR`, folder of the inference log, written where `SERVICE_INFERENCE_LOG=true`
    (docs/inference-log.md).
    """

    @classmethod
    def of(cls, environ: Mapping[str, str], root: Path = PROJECT_ROOT) -> "Artefacts":
        """Read the addresses from `environ`; the others default to paths below `root`/var.

        Raises:
            ContractError: `REDIS_URL_FILE` or the embedded server's record cannot be read; the project's path has a
                character that a SQLite address cannot hold; or as `features_of`.
        """
        var = root / "var"
        use_case = PROJECT_ROOT / (environ.get("USE_CASE") or DEFAULT_USE_CASE)
        own = _own_var(var, use_case)
        of_features = _own_var(var, features_of(use_case))
        if not environ.get("MLFLOW_TRACKING_URI") and (odd := {"?", "\n", "\r"} & set(str(root))):
            raise ContractError(
                f"the project's folder has {odd.pop()!r} in its path, which cuts the address of MLflow's SQLite "
                "database short; move the project, or set MLFLOW_TRACKING_URI"
            )
        return cls(
            use_case=use_case,
            redis_url=environ.get("REDIS_URL") or _redis_url_of_file(environ) or _recorded_redis_url(root) or None,
            feast_registry=environ.get("FEAST_REGISTRY") or str(var / "feast" / "registry.db"),
            # Absolute, because Feast's registry stores it and other processes run in other folders.
            offline_store=Path(environ.get("OFFLINE_STORE_DIR") or of_features / "offline_store").absolute(),
            materialize_runs=Path(environ.get("MATERIALIZE_RUNS_PATH") or of_features / "materialize" / "runs.jsonl"),
            mlflow_tracking_uri=environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{var / 'mlflow' / 'mlflow.db'}",
            model_tag=Path(environ.get("MODEL_TAG_PATH") or own / "model_tag"),
            challenger=Path(environ.get("CHALLENGER_PATH") or own / "challenger.json"),
            inference_log=Path(environ.get("INFERENCE_LOG_DIR") or own / "inference_log"),
        )

    @property
    def features_of(self) -> Path:
        """Folder of the use case whose features this one uses, see `features_of`."""
        return features_of(self.use_case)

    @property
    def feature_repo(self) -> Path:
        """Folder of the use case's Feast repository: its own, or that of the use case whose features it uses."""
        owner = self.features_of
        return (PROJECT_ROOT if owner == PROJECT_ROOT / DEFAULT_USE_CASE else owner) / _FEATURE_REPO

    def feast_environment(self, redis_options: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment variables that `feature_repo/` reads.

        Args:
            redis_options: additional keyword arguments of the Redis client, e.g. `socket_timeout`.

        Raises:
            ContractError: feast's connection string cannot express `REDIS_URL`.
        """
        # Reading history and applying definitions need no online store. Port 0 makes any use of it fail.
        kind, master, connection = "redis", "", "redis-url-not-set:0"
        if self.redis_url is not None:
            address = RedisAddress.of(self.redis_url)
            kind, master = address.kind, address.master
            connection = address.feast_connection_string(redis_options)
        return {
            "FEAST_REGISTRY": self.feast_registry,
            "OFFLINE_STORE_DIR": str(self.offline_store),
            "REDIS_TYPE": kind,
            "REDIS_SENTINEL_MASTER": master or "none",
            "REDIS_CONNECTION_STRING": connection,
        }


_FEATURE_REPO = "feature_repo"
_FEATURES_OF = "features_of"


def features_of(use_case: Path) -> Path:
    """Folder of the use case whose Feast repository, data and offline store a use case uses.

    That is itself, if it has a `feature_repo/`; the one that its file `features_of` names; else the default one. The
    Makefile and deploy/jobs/schedule.py follow the same rule.

    Raises:
        ContractError: the file cannot be read, or it names no folder with a `feature_repo/`.
    """
    file = use_case / _FEATURES_OF
    if (use_case / _FEATURE_REPO).is_dir():
        return use_case
    if not file.is_file():
        return PROJECT_ROOT / DEFAULT_USE_CASE
    try:
        owner = PROJECT_ROOT / read_small_text(file).strip()
    except (OSError, ValueError) as error:
        raise ContractError(f"{file} cannot be read: {error}") from None
    if not (owner / _FEATURE_REPO).is_dir():
        raise ContractError(f"{file}: {owner} is no use case with a {_FEATURE_REPO}/")
    return owner


def var_folders(use_case: Path, root: Path = PROJECT_ROOT) -> list[Path]:
    """Folders below `root`/var of all use cases that use the same features as this one, itself included.

    Raises:
        ContractError: as `features_of`.
    """
    owner = features_of(use_case)
    cases = [PROJECT_ROOT / DEFAULT_USE_CASE, *sorted(PROJECT_ROOT.glob("use_cases/*/")), use_case]
    return list(dict.fromkeys(_own_var(root / "var", case) for case in cases if features_of(case) == owner))


def _own_var(var: Path, use_case: Path) -> Path:
    return var if use_case == PROJECT_ROOT / DEFAULT_USE_CASE else var / "use_cases" / use_case.name


def _redis_url_of_file(environ: Mapping[str, str]) -> str:
    if not (file := environ.get("REDIS_URL_FILE")):
        return ""
    try:
        return read_small_text(file).strip()
    except OSError as error:
        raise ContractError(f"REDIS_URL_FILE: {file} cannot be read: {why_unreadable(Path(file), error)}") from None
    except ValueError as error:  # not a path
        raise ContractError(f"REDIS_URL_FILE: {file!r} cannot be read: {error}") from None


def _recorded_redis_url(root: Path) -> str:
    file = embedded_redis_url_file(root)
    try:
        if _is_of_another_place(root):
            return ""
        return read_small_text(file).strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ContractError(
            f"{file} cannot be read: {why_unreadable(file, error)}; remove it and run `make redis`"
        ) from None


def _is_of_another_place(root: Path) -> bool:
    """True if the record came with a copied or moved checkout: the server may belong to the original."""
    try:
        return read_small_text(embedded_redis_place_file(root)).strip() != place_of(root)
    except FileNotFoundError:  # written by an earlier version, without a place
        return False


def place_of(root: Path) -> str:
    """A folder's resolved path as one line of text (JSON), whatever characters it has."""
    return json.dumps(str(root.resolve()))


def embedded_redis_place_file(root: Path = PROJECT_ROOT) -> Path:
    """The file with the project, as `place_of` writes it, that started the embedded server."""
    return root / "var" / "redis" / "place"


def embedded_redis_url_file(root: Path = PROJECT_ROOT) -> Path:
    """The file with the URL of the embedded Redis-compatible server while it runs."""
    return root / "var" / "redis" / "url"
