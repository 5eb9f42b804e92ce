"""Text of `use_case.py`, its test and `data.py` for a table."""

import json
from pathlib import Path

from training.tables.outcome import Outcome
from training.tables.proposal import Proposal
from training.tables.written_features import imports, listed

_ESTIMATORS = {
    "binary": ("HistGradientBoostingClassifier", "LogisticRegression(max_iter=2000, random_state=seed)"),
    "multiclass": ("HistGradientBoostingClassifier", "LogisticRegression(max_iter=2000, random_state=seed)"),
    "regression": ("HistGradientBoostingRegressor", "Ridge()"),
}


def use_case_files(proposal: Proposal) -> dict[str, str]:
    """Name in the use case's folder → text."""
    files = {
        "__init__.py": f'"""The use case {proposal.name}."""\n',
        "use_case.py": _use_case(proposal),
        f"test_{proposal.name}.py": _test(proposal),
    }
    if proposal.location.kind == "csv":
        files["data.py"] = _data(proposal)
    return files


def _use_case(proposal: Proposal) -> str:
    task = {"binary": "Binary", "multiclass": "Multiclass", "regression": "Regression"}[proposal.outcome.kind]
    splits = "TableSplits" if proposal.by_time else "RandomSplit"
    table = {"csv": "ImportedTable", "parquet": "ParquetTable", "postgres": "PostgresTable"}[proposal.location.kind]
    parts = [
        _doc(proposal),
        _library_imports(proposal),
        "\n".join(
            [
                *(["from artefacts.addresses import PROJECT_ROOT"] if _below_project(proposal) else []),
                "from training.tables.labels import table_labels",
                f"from training.tables.table import {table}",
                *imports("training.use_case", sorted([task, "Gate", "Mean", splits, "UseCase"])),
            ]
        ),
        "\n".join(_constants(proposal)),
        "",
        _boosting(proposal),
        "",
        _linear(proposal),
        "",
        _object(proposal, task, splits),
    ]
    return "\n\n".join(parts).replace("\n\n\n\n", "\n\n\n") + "\n"


def _doc(proposal: Proposal) -> str:
    after = f" {proposal.label_days} days later" if proposal.label_days else ""
    return f'"""Predicts `{proposal.outcome.target}`{after} from the table {_named(proposal)}."""'


def _named(proposal: Proposal) -> str:
    """The table, as everybody who has the code can read it."""
    if not proposal.location.is_elsewhere:
        return proposal.location.address
    variable = "make data TABLE=…" if proposal.location.kind == "csv" else f"{proposal.table_variable}=…"
    return f"{Path(proposal.location.address).name} ({variable} says where it is)"


def _library_imports(proposal: Proposal) -> str:
    boosting, linear = _ESTIMATORS[proposal.outcome.kind]
    categories = _categories(proposal)
    named = proposal.location.kind == "parquet" and proposal.location.is_elsewhere
    lines = ["import os", "from pathlib import Path", ""] if named else []
    if categories:
        lines.append("from sklearn.compose import ColumnTransformer")
    lines.append(f"from sklearn.ensemble import {boosting}")
    if _numbers(proposal):
        lines.append("from sklearn.impute import SimpleImputer")
    lines.append(f"from sklearn.linear_model import {linear.split('(')[0]}")
    lines.append(f"from sklearn.pipeline import {'Pipeline, make_pipeline' if _numbers(proposal) else 'Pipeline'}")
    encoders = ["OneHotEncoder", "OrdinalEncoder"] if categories else []
    lines += imports("sklearn.preprocessing", [*encoders, *(["StandardScaler"] if _numbers(proposal) else [])])
    return "\n".join(lines)


def _below_project(proposal: Proposal) -> bool:
    return proposal.location.kind == "parquet" and not proposal.location.is_elsewhere


def _categories(proposal: Proposal) -> list[str]:
    return [name for name, feature in proposal.inputs.items() if feature.kind == "category"]


def _numbers(proposal: Proposal) -> list[str]:
    return [name for name, feature in proposal.inputs.items() if feature.kind != "category"]


def _constants(proposal: Proposal) -> list[str]:
    address = json.dumps(proposal.location.address)
    elsewhere = f'Path(os.environ.get("{proposal.table_variable}") or {address})'
    made = {
        "csv": "ImportedTable()  # see data.py",
        "postgres": f"PostgresTable({address})",
        "parquet": f"ParquetTable({f'PROJECT_ROOT / {address}' if _below_project(proposal) else elsewhere})",
    }[proposal.location.kind]
    lines = [f"TABLE = {made}"]
    if categories := _categories(proposal):
        lines += listed("CATEGORIES", categories)
        if numbers := _numbers(proposal):
            lines += listed("NUMBERS", numbers)
    return lines


def _boosting(proposal: Proposal) -> str:
    boosting, _ = _ESTIMATORS[proposal.outcome.kind]
    step = "regressor" if proposal.outcome.kind == "regression" else "classifier"
    model = f"{boosting}(learning_rate=0.05, max_iter=150, max_leaf_nodes=15, random_state=seed)"
    head = (
        "def boosting(seed: int) -> Pipeline:\n"
        '    """Gradient boosting of trees; it takes nulls as they are."""\n'
        f"    model = {model}\n"
    )
    if not _categories(proposal):
        return f'{head}    return Pipeline([("{step}", model)])'
    rest = ', remainder="passthrough"' if _numbers(proposal) else ""
    return (
        f"{head}"
        '    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)\n'
        f'    columns = ColumnTransformer([("categories", ordinal, CATEGORIES)]{rest})\n'
        f'    return Pipeline([("columns", columns), ("{step}", model)])'
    )


def _linear(proposal: Proposal) -> str:
    _, linear = _ESTIMATORS[proposal.outcome.kind]
    step = "regressor" if proposal.outcome.kind == "regression" else "classifier"
    del_seed = "    del seed  # nothing is random\n" if "seed" not in linear else ""
    words = "A linear model, beside which boosting has to show its worth."
    head = f'def linear(seed: int) -> Pipeline:\n    """{words}"""\n{del_seed}'
    scaled = 'make_pipeline(SimpleImputer(strategy="median"), StandardScaler())'
    if not _categories(proposal):
        return f'{head}    numbers = {scaled}\n    return Pipeline([("numbers", numbers), ("{step}", {linear})])'
    one_hot = '    one_hot = OneHotEncoder(handle_unknown="ignore", max_categories=50)\n'
    steps = '("categories", one_hot, CATEGORIES)'
    if not _numbers(proposal):
        columns = f"    columns = ColumnTransformer([{steps}])\n"
    else:
        columns = f'    numbers = {scaled}\n    columns = ColumnTransformer([{steps}, ("numbers", numbers, NUMBERS)])\n'
    return f'{head}{one_hot}{columns}    return Pipeline([("columns", columns), ("{step}", {linear})])'


def _object(proposal: Proposal, task: str, splits: str) -> str:
    outcome = proposal.outcome
    keys = [f'"{key}"' for key in proposal.keys]
    label_days = f"label_days={proposal.label_days}" if proposal.label_days else ""
    definition = f"{outcome.target} {{days}} days later" if proposal.label_days else outcome.target
    lines = [
        "USE_CASE = UseCase(",
        f'    name="{proposal.name}",',
        f'    feature_service="{proposal.name}_v1",',
        *_task(outcome, task),
        f'    definition="{definition}",',
        "    labels=table_labels(",
        "        TABLE,",
        f"        key={keys[0] if len(keys) == 1 else '[' + ', '.join(keys) + ']'},",
        f'        time="{proposal.time}",',
        f'        target="{outcome.target}",',
        *_names(outcome),
        "    ),",
        f"    splits={splits}({label_days}),",
        '    candidates={"boosting": boosting, "linear": linear},',
        "    baseline=Mean(),",
        f"    gate=Gate(max_calibration_error={proposal.max_calibration_error:g}),",
        ")",
    ]
    return "\n".join(lines)


def _task(outcome: Outcome, task: str) -> list[str]:
    if outcome.kind == "regression":
        return [f'    task={task}(target="{outcome.target}"),']
    classes = [json.dumps(name, ensure_ascii=False) for name in outcome.classes]
    line = f'    task={task}(target="{outcome.target}", classes=({", ".join(classes)})),'
    if len(line) <= 120:
        return [line]
    return [
        f"    task={task}(",
        f'        target="{outcome.target}",',
        "        classes=(",
        *(f"            {name}," for name in classes),
        "        ),",
        "    ),",
    ]


def _names(outcome: Outcome) -> list[str]:
    if not outcome.names:
        return []
    pairs = [f"{value!r}: {json.dumps(name, ensure_ascii=False)}" for value, name in outcome.names.items()]
    line = f"        names={{{', '.join(pairs)}}},"
    if len(line) <= 120:
        return [line]
    return ["        names={", *(f"            {pair}," for pair in pairs), "        },"]


def _data(proposal: Proposal) -> str:
    columns = [f'    {json.dumps(name, ensure_ascii=False)}: "{kind}",' for name, kind in proposal.imported.items()]
    zone = [f'        zone="{proposal.zone}",'] if proposal.zone != "UTC" else []
    stamped = ["        stamped=True,"] if proposal.stamped else []
    given = ["file", "COLUMNS", "USE_CASE", "Path(__file__).parent", "environ", "now"]
    address = proposal.location.address
    elsewhere = proposal.location.is_elsewhere
    file = f"Path({json.dumps(address)})" if elsewhere else f"PROJECT_ROOT / {json.dumps(address)}"
    where = "  # elsewhere: make data TABLE=…" if elsewhere else ""
    root = "" if elsewhere else "from artefacts.addresses import PROJECT_ROOT\n"
    return "\n".join(
        [
            '"""Brings the table here from its CSV file: typed, with times in UTC."""',
            "",
            "from collections.abc import Mapping",
            "from datetime import datetime",
            "from pathlib import Path",
            "",
            f"{root}from training.tables.later_rows import import_later_rows",
            "",
            "from .use_case import USE_CASE",
            "",
            f"FILE = {file}{where}",
            "COLUMNS = {",
            *columns,
            "}",
            "",
            "",
            "def fetch(environ: Mapping[str, str], now: datetime, follow_today: bool) -> str | None:",
            '    """Read the CSV file again. Its rows keep their times, so none follow today."""',
            "    if follow_today:",
            "        return None",
            '    file = Path(environ.get("TABLE") or FILE)',
            *(
                ["    return import_later_rows(", *(f"        {each}," for each in given), *zone, *stamped, "    )"]
                if zone or stamped
                else [f"    return import_later_rows({', '.join(given)})"]
            ),
            "",
        ]
    )


def _test(proposal: Proposal) -> str:
    return f'''"""The table's rows are labels that the task takes, in three splits without a row in common."""

import os

import pandas as pd

from artefacts.cutoffs import CutoffSettings

from .use_case import USE_CASE

SETTINGS = CutoffSettings(**USE_CASE.splits.settings)


def test_each_split_has_labels_and_no_row_is_in_two() -> None:
    splits = USE_CASE.splits.read(USE_CASE.labels(os.environ), SETTINGS, seed=17).by_name

    rows = [pd.concat([part.rows for part in parts]) for parts in splits.values()]

    assert all(len(USE_CASE.task.labels(each["{proposal.outcome.target}"])) for each in rows)
    assert not pd.concat(rows).duplicated([{", ".join(f'"{key}"' for key in proposal.keys)}, "event_timestamp"]).any()
'''
