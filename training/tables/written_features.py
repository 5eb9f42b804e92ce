"""Text of Feast's files for a table."""

from collections.abc import Iterable
from textwrap import dedent

from training.tables.columns import Feature
from training.tables.proposal import Proposal

_WIDTH = 120
_STORE_YAML = """\
# `make` and the jobs set the variables in ${...}; docs/settings.md lists them. `|-` keeps values literally, quotes too.
project: %s
provider: local
registry:
  registry_type: file
  path: |-
    ${FEAST_REGISTRY}
  cache_ttl_seconds: 60
  cache_mode: thread
  serve_features_while_materializing: true
%s
online_store:
  type: redis
  redis_type: '${REDIS_TYPE}'
  sentinel_master: '${REDIS_SENTINEL_MASTER}'
  connection_string: |-
    ${REDIS_CONNECTION_STRING}
entity_key_serialization_version: 3
"""
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

        _DEFAULT = Path(__file__).resolve().parents[3] / "var" / "use_cases" / "{proposal.name}" / "offline_store"
        _OFFLINE_STORE = Path(os.environ.get("OFFLINE_STORE_DIR") or _DEFAULT)

        {proposal.name}_rows = FileSource(
            name="{proposal.name}_rows",
            path=str(_OFFLINE_STORE / "table.parquet"),
            timestamp_field="{proposal.time}",
        )
        ''')


def _parquet_source(proposal: Proposal) -> str:
    address = proposal.location.address + ("/**/*.parquet" if proposal.location.is_folder else "")
    if address.startswith("/"):
        imported, path = "", f'"{address}"'
    else:
        imported, path = "from pathlib import Path\n\n", f'str(Path(__file__).resolve().parents[3] / "{address}")'
    return (
        '"""The table that features come from; somebody else fills it."""\n\n'
        f"{imported}from feast import FileSource\n\n"
        f"{proposal.name}_rows = FileSource(\n"
        f'    name="{proposal.name}_rows",\n'
        f"    path={path},\n"
        f'    timestamp_field="{proposal.time}",\n)\n'
    )


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
    types = sorted({name for each in proposal.features for name in each.dtype.rstrip(")").split("(")})
    lines = [
        '"""The features: columns of the table."""',
        "",
        f"from data_sources import {proposal.name}_rows",
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
    for each in proposal.columns:
        lines += _field(each) if isinstance(each, Feature) else wrapped(f"Left out: {each.name}: {each.why}.", " " * 8)
    lines += ["    ],", f"    source={proposal.name}_rows,", "    online=True,", ")"]
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
