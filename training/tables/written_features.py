"""Text of Feast's files for a table."""

from collections.abc import Iterable
from textwrap import dedent

from training.tables.columns import Feature
from training.tables.proposal import Proposal

_WIDTH = 120
_STORE_YAML = """\
# The paths are for Feast's own commands in this folder: the project's registry, and its embedded Redis at the socket.
# FEAST_REGISTRY and REDIS_URL replace them everywhere else (docs/feast.md).
project: %s
provider: local
registry:
  registry_type: file
  path: ../../../var/feast/registry.db
  cache_ttl_seconds: 60
  cache_mode: thread
  serve_features_while_materializing: true
%s
online_store:
  type: redis
  connection_string: localhost:6379,unix_socket_path=../../../var/redis/valkey.sock
entity_key_serialization_version: 3
"""
_AGES = (
    "A time is an age: training sees how long before the row's own time it was, serving how long before the request. "
    "Where rows are seldom renewed these differ: give the view a ttl, or train on rows of the age that requests find."
)
_OFFLINE = {
    "postgres": """\
# PostgreSQL's own variables say where the rows are. For each join Feast makes a table, so the user must be allowed to.
offline_store:
  type: postgres
  host: '${PGHOST}'
  port: ${PGPORT}
  database: '${PGDATABASE}'
  user: '${PGUSER}'
  password: '${PGPASSWORD}'
  sslmode: prefer""",
    "parquet": "offline_store:\n  type: duckdb",
}


def feature_files(proposal: Proposal) -> dict[str, str]:
    """Name in `feature_repo/` → text."""
    offline = _OFFLINE["postgres" if proposal.location.kind == "postgres" else "parquet"]
    return {
        "feature_store.yaml": _STORE_YAML % (proposal.project, offline),
        "data_sources.py": _SOURCES[proposal.location.kind](proposal),
        "entities.py": _entities(proposal),
        "feature_views.py": _views(proposal),
        "feature_services.py": dedent(f'''\
            """The model's inputs, in the model's order."""

            from feast import FeatureService
            from feature_views import {proposal.name}

            {proposal.name}_v1 = FeatureService(name="{proposal.name}_v1", features=[{proposal.name}])
            '''),
    }


def _csv_source(proposal: Proposal) -> str:
    return dedent(f'''\
        """The table that features come from: `make data` brings it here."""

        import os
        from pathlib import Path

        from feast import FileSource
        from feast.data_format import ParquetFormat

        _DEFAULT = Path(__file__).resolve().parents[3] / "var" / "use_cases" / "{proposal.name}" / "offline_store"
        _OFFLINE_STORE = Path(os.environ.get("OFFLINE_STORE_DIR") or _DEFAULT)

        {proposal.name}_rows = FileSource(
            name="{proposal.name}_rows",
            path=str(_OFFLINE_STORE / "table.parquet"),
            file_format=ParquetFormat(),
            timestamp_field="{proposal.time}",
        )
        ''')


def _parquet_source(proposal: Proposal) -> str:
    address = proposal.location.address + ("/**/*.parquet" if proposal.location.is_folder else "")
    if proposal.location.is_elsewhere:
        imported = "import os\n\n"
        path = f'os.environ.get("{proposal.table_variable}") or "{address}"'
    else:
        imported, path = "from pathlib import Path\n\n", f'str(Path(__file__).resolve().parents[3] / "{address}")'
    rows = f"{proposal.name}_rows"
    sources = "FileSource, PushSource" if proposal.location.is_pushed_to else "FileSource"
    text = (
        '"""The table that features come from; somebody else fills it."""\n\n'
        f"{imported}from feast import {sources}\nfrom feast.data_format import ParquetFormat\n\n"
        f"{rows} = FileSource(\n"
        f'    name="{rows}",\n'
        f"    path={path},\n"
        "    file_format=ParquetFormat(),\n"
        f'    timestamp_field="{proposal.time}",\n)\n'
    )
    if proposal.location.is_pushed_to:
        text += (
            "# For whoever has rows before the table has them: docs/feast.md.\n"
            f'{proposal.name}_push = PushSource(name="{proposal.name}_push", batch_source={rows})\n'
        )
    return text


def _postgres_source(proposal: Proposal) -> str:
    return (
        '"""The table that features come from; somebody else fills it."""\n\n'
        "from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource\n\n"
        f"{proposal.name}_rows = PostgreSQLSource(\n"
        f'    name="{proposal.name}_rows",\n'
        f'    table="{proposal.location.address}",\n'
        f'    timestamp_field="{proposal.time}",\n)\n'
    )


_SOURCES = {"csv": _csv_source, "parquet": _parquet_source, "postgres": _postgres_source}


def _entities(proposal: Proposal) -> str:
    lines = ['"""What a row is about."""', "", "from feast import Entity, ValueType", ""]
    for key, kind in proposal.keys.items():
        name = proposal.entities[key]
        lines.append(f'{name} = Entity(name="{name}", join_keys=["{key}"], value_type=ValueType.{kind})')
    return "\n".join(lines) + "\n"


def _views(proposal: Proposal) -> str:
    entities = list(proposal.entities.values())
    source = f"{proposal.name}_{'push' if proposal.location.is_pushed_to else 'rows'}"
    types = sorted({name for each in proposal.features for name in each.dtype.rstrip(")").split("(")})
    lines = [
        '"""The features: columns of the table."""',
        "",
        f"from data_sources import {source}",
        f"from entities import {', '.join(sorted(entities))}",
        "from feast import FeatureView, Field",
        *imports("feast.types", types),
        "",
        f"{proposal.name} = FeatureView(",
        f'    name="{proposal.name}",',
        f"    entities=[{', '.join(entities)}],",
        "    ttl=None,  # a row is valid until the next one; timedelta(days=2) refuses what is older",
        "    schema=[",
    ]
    if any(each.kind == "age" for each in proposal.features):
        lines += wrapped(_AGES, " " * 8)
    for each in proposal.columns:
        lines += _field(each) if isinstance(each, Feature) else wrapped(f"Left out: {each.name}: {each.why}.", " " * 8)
    lines += ["    ],", f"    source={source},", "    online=True,", ")"]
    return "\n".join(lines) + "\n"


def _field(feature: Feature) -> list[str]:
    tags = ", ".join(f'"{name}": "{value}"' for name, value in feature.tags.items())
    return [f'        Field(name="{feature.name}", dtype={feature.dtype}{f", tags={{{tags}}}" if tags else ""}),']


def imports(module: str, names: Iterable[str]) -> list[str]:
    """Lines of an import, as a formatter writes them."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in names), ")"]


def listed(name: str, texts: Iterable[str]) -> list[str]:
    """Lines of a list of texts, as a formatter writes them."""
    quoted = [f'"{text}"' for text in texts]
    line = f"{name} = [{', '.join(quoted)}]"
    if len(line) <= _WIDTH:
        return [line]
    return [f"{name} = [", *(f"    {text}," for text in quoted), "]"]


def wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of a comment."""
    from textwrap import wrap

    return wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
