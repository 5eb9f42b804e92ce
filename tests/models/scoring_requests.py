"""Requests of MLflow's scoring protocol, good and bad, for any model.

The unit tests parse them, the e2e tests send them to `mlflow models serve` and to the service.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSON, CSV = "application/json", "text/csv"
Row = Sequence[float]


@dataclass(frozen=True)
class Request:
    """A content type and a body."""

    content_type: str
    body: bytes


@dataclass(frozen=True)
class Good:
    """A request that both answer.

    rows: what it comes to, in model order.
    """

    request: Request
    rows: Sequence[Row]


@dataclass(frozen=True)
class Bad:
    """A request that both refuse, and what our error names."""

    request: Request
    field: str | None
    status: int = 400


def send(content: object, content_type: str = JSON) -> Request:
    return Request(content_type, content if isinstance(content, bytes) else json.dumps(content).encode())


def text(lines: Sequence[Sequence[object]], end: str = "\n", content_type: str = CSV) -> Request:
    return Request(content_type, "".join(",".join(map(str, line)) + end for line in lines).encode())


def records(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def split(names: Sequence[object], rows: Sequence[Any], **members: object) -> dict[str, Any]:
    return {"dataframe_split": {"columns": list(names), "data": [list(row) for row in rows], **members}}


def with_cell(row: Row, value: Any) -> list[Any]:
    """The row with another first cell."""
    return [value, *row[1:]]


def five_forms(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Request]:
    """One frame in all five forms."""
    return {
        "dataframe_split": send(split(names, rows)),
        "dataframe_records": send({"dataframe_records": records(names, rows)}),
        "instances": send({"instances": records(names, rows)}),
        "inputs": send({"inputs": columns(names, rows)}),
        "csv": text([names, *rows]),
    }


def good(names: Sequence[str], rows: Sequence[Row]) -> Mapping[str, Good]:
    """Label → request.

    Args:
        names: the model's inputs, at least two.
        rows: at least two, whose values the model can score and float32 holds exactly.
    """
    first, second = rows[0], rows[1]
    all_columns, record = columns(names, rows), records(names, rows)
    backwards = [list(row)[::-1] for row in rows]
    extra = [*names, "extra"]
    requests = {
        **five_forms(names, rows),
        "split, columns backwards": send(split(names[::-1], backwards)),
        "records, columns backwards": send({"dataframe_records": records(names[::-1], backwards)}),
        "csv, columns backwards": text([names[::-1], *backwards]),
        "split, extra columns": send(split([*extra, 1, None], [[*row, "a", [1, 2], None] for row in rows])),
        "split, extra columns of one name": send(split([*extra, "extra"], [[*row, "a", "b"] for row in rows])),
        "split, short row without the extra": send(split(extra, [[*first, 1], *rows[1:]])),
        "split, index": send(split(names, rows, index=["b", None, *range(len(rows) - 2)])),
        "split, index of equal labels": send(split(names, rows, index=[0] * len(rows))),
        "split, null index": send(split(names, rows, index=None)),
        "records, extra column in one": send({"dataframe_records": [{**record[0], "extra": {}}, *record[1:]]}),
        "instances, extra column in all": send({"instances": [{**r, "extra": "a"} for r in record]}),
        "instances as columns": send({"instances": all_columns}),
        "inputs as records": send({"inputs": record}),
        "inputs as records, extra column in one": send({"inputs": [{**record[0], "extra": 1}, *record[1:]]}),
        "inputs, extra column": send({"inputs": {**all_columns, "extra": ["a"] * len(rows)}}),
        "inputs, extra single value": send({"inputs": {**all_columns, "extra": None}}),
        "inputs, extra tensor": send({"inputs": {**all_columns, "extra": [[1, 2]] * len(rows)}}),
        "params are ignored": send({**split(names, rows), "params": {"temperature": 1}}),
        "params of the wrong type are ignored": send({**split(names, rows), "params": 7}),
        "unknown members are ignored": send({"inputs": all_columns, "signature_name": "x"}),
        "csv with the index of to_csv": text([["", *names], *([i, *row] for i, row in enumerate(rows))]),
        "csv with an index without a name": text([names, *([i, *row] for i, row in enumerate(rows))]),
        "csv, lines end as on Windows": text([names, *rows], end="\r\n"),
        "csv, blank lines": text([[" "], names, [], *rows, [], ["\t"]]),
        "csv, byte order mark": Request(CSV, b"\xef\xbb\xbf" + text([names, *rows]).body),
        "csv, everything in quotes": text([[f'"{cell}"' for cell in line] for line in [names, *rows]]),
        "csv, an extra text": text([extra, *([*row, '"a, ""b""\nc"'] for row in rows)]),
        "csv, a column twice": text([[*names, names[0]], *([*row, "7"] for row in rows)]),
        "csv, charset": text([names, *rows], content_type="text/csv; charset=UTF-8"),
        "json, charset": send(split(names, rows), "application/json;charset=utf-8"),
        "json in UTF-16": Request(JSON, json.dumps(split(names, rows)).encode("utf-16")),
    }
    found = {label: Good(request, rows) for label, request in requests.items()}
    single = dict(zip(names, first, strict=True))
    found["inputs, single values"] = Good(send({"inputs": single}), [first])
    found["inputs, a list and single values"] = Good(
        send({"inputs": {**single, names[0]: [first[0], second[0]]}}), [first, with_cell(first, second[0])]
    )
    found["inputs, single values and an extra list"] = Good(send({"inputs": {**single, "e": [1, 2]}}), [first, first])
    for value, number in ((True, 1.0), ("2.5", 2.5), (" 3 ", 3.0), ("1e1", 10.0), (7, 7.0), (2**40, 2.0**40)):
        expected = [with_cell(first, number), second]
        for form, request in five_forms(names, [with_cell(first, value), second]).items():
            if not (form == "csv" and value is True):  # pandas reads True where the whole column is of that kind
                found[f"{form}, {value!r}"] = Good(request, expected)
    found["csv, a column of truth values"] = Good(
        text([names, with_cell(first, "True"), with_cell(second, "false")]),
        [with_cell(first, 1.0), with_cell(second, 0.0)],
    )
    return found


PRIVATE = "765.4321 private"
"""A value that no error may repeat."""


def bad(names: Sequence[str], rows: Sequence[Row]) -> Mapping[str, Bad]:
    """Label → request; see `good`."""
    name, first, second = names[0], rows[0], rows[1]
    record, all_columns, frame = records(names, rows), columns(names, rows), split(names, rows)
    fewer = {key: value for key, value in record[1].items() if key != name}
    form, kind = None, "Content-Type"
    found = {
        "nothing": Bad(send(b""), form),
        "no JSON": Bad(send(b"{"), form),
        "no UTF-8": Bad(send(b"\xff"), form),
        "nested without end": Bad(send(b"[" * 100_000), form),
        "a list": Bad(send(record), form),
        "null": Bad(send(None), form),
        "no form": Bad(send({"data": rows}), form),
        "two forms": Bad(send({**frame, "inputs": all_columns}), form),
        "a chat": Bad(send({**frame, "messages": []}), form),
        "unknown type": Bad(send(frame, "text/plain"), kind, 415),
        "form fields": Bad(send(frame, "application/x-www-form-urlencoded"), kind, 415),
        "other charset": Bad(send(frame, f"{JSON}; charset=latin-1"), kind, 415),
        "other charset of csv": Bad(text([names, *rows], content_type="text/csv; charset=utf-16"), kind, 415),
        "unknown parameter": Bad(send(frame, f"{JSON}; format=split"), kind, 415),
        "split, a list": Bad(send({"dataframe_split": rows}), "dataframe_split"),
        "split, no data": Bad(send({"dataframe_split": {"columns": names}}), "dataframe_split"),
        "split, unknown member": Bad(send(split(names, rows, dtypes={})), "dataframe_split"),
        "split, no columns": Bad(send({"dataframe_split": {"data": rows}}), "dataframe_split.columns"),
        "split, columns of lists": Bad(send(split([names], rows)), "dataframe_split.columns"),
        "split, no rows": Bad(send(split(names, [])), "dataframe_split.data"),
        "split, a row instead of rows": Bad(
            send({"dataframe_split": {"columns": names, "data": first}}), "dataframe_split.data.0"
        ),
        "split, long row": Bad(send(split(names, [first, [*second, 1]])), "dataframe_split.data.1"),
        "split, all rows short": Bad(send(split([*names, "extra"], rows)), "dataframe_split.data"),
        "split, short row": Bad(send(split(names, [first, second[:-1]])), f"dataframe_split.data.1.{names[-1]}"),
        "split, missing column": Bad(send(split(names[1:], [r[1:] for r in rows])), f"dataframe_split.columns.{name}"),
        "split, column twice": Bad(
            send(split([*names, name], [[*row, 1] for row in rows])), f"dataframe_split.columns.{len(names)}"
        ),
        "split, short index": Bad(send(split(names, rows, index=[1])), "dataframe_split.index"),
        "split, index of one": Bad(send(split(names, rows, index=1)), "dataframe_split.index"),
        "records, an object": Bad(send({"dataframe_records": all_columns}), "dataframe_records"),
        "records, none": Bad(send({"dataframe_records": []}), "dataframe_records"),
        "records, lists": Bad(send({"dataframe_records": rows}), "dataframe_records.0"),
        "records, null among them": Bad(send({"dataframe_records": [record[0], None]}), "dataframe_records.1"),
        "records, missing value": Bad(send({"dataframe_records": [record[0], fewer]}), f"dataframe_records.1.{name}"),
        "instances, lists": Bad(send({"instances": rows}), "instances"),
        "instances, a number": Bad(send({"instances": 1}), "instances"),
        "instances, none": Bad(send({"instances": []}), "instances"),
        "instances, a number among them": Bad(send({"instances": [record[0], 1]}), "instances.1"),
        "instances, missing value": Bad(send({"instances": [record[0], fewer]}), f"instances.1.{name}"),
        "instances, extra in one": Bad(send({"instances": [record[0], {**record[1], "extra": 1}]}), "instances.1"),
        "instances, ragged extra": Bad(
            send({"instances": [{**record[0], "extra": [1]}, {**record[1], "extra": [1, 2]}]}), "instances"
        ),
        "inputs, lists": Bad(send({"inputs": rows}), "inputs"),
        "inputs, a text": Bad(send({"inputs": PRIVATE}), "inputs"),
        "inputs, nothing": Bad(send({"inputs": {}}), f"inputs.{name}"),
        "inputs, no rows": Bad(send({"inputs": {key: [] for key in names}}), "inputs"),
        "inputs, missing column": Bad(send({"inputs": {n: all_columns[n] for n in names[1:]}}), f"inputs.{name}"),
        "inputs, columns of unequal length": Bad(send({"inputs": {**all_columns, name: [1]}}), "inputs"),
        "inputs, extra column of unequal length": Bad(send({"inputs": {**all_columns, "extra": [1]}}), "inputs"),
        "inputs, ragged extra": Bad(
            send({"inputs": {**all_columns, "extra": [[1], *[[1, 2]] * (len(rows) - 1)]}}), "inputs"
        ),
        "inputs, single values and an extra one": Bad(send({"inputs": {**record[0], "extra": 1}}), "inputs"),
        "inputs, columns of lists": Bad(
            send({"inputs": {n: [[v] for v in values] for n, values in all_columns.items()}}), f"inputs.{name}.0"
        ),
        "csv, nothing": Bad(text([]), form),
        "csv, no UTF-8": Bad(Request(CSV, text([names]).body + b"\xff\n"), form),
        "csv, header only": Bad(text([names]), "csv"),
        "csv, no header": Bad(text(rows), f"csv.{name}"),
        "csv, missing column": Bad(text([names[1:], *(row[1:] for row in rows)]), f"csv.{name}"),
        "csv, blank before a name": Bad(text([[" " + name, *names[1:]], *rows]), f"csv.{name}"),
        "csv, long row": Bad(text([names, first, [*second, 1]]), "csv.1"),
        "csv, short row": Bad(text([names, first, second[:-1]]), f"csv.1.{names[-1]}"),
        "csv, a comma after every row": Bad(text([names, *([*row, ""] for row in rows)]), f"csv.0.{names[-1]}"),
        "csv, other separator": Bad(Request(CSV, text([names, *rows]).body.replace(b",", b";")), f"csv.{name}"),
        "csv, open quote": Bad(text([names, first, [*second[:-1], '"1']]), form),
        "csv, truth values beside numbers": Bad(text([names, first, with_cell(second, "True")]), f"csv.1.{name}"),
        "csv, 1_000": Bad(text([names, first, with_cell(second, "1_000")]), f"csv.1.{name}"),
    }
    where = {
        "dataframe_split": f"dataframe_split.data.1.{name}",
        "dataframe_records": f"dataframe_records.1.{name}",
        "instances": f"instances.1.{name}",
        "inputs": f"inputs.{name}.1",
        "csv": f"csv.1.{name}",
    }
    for value in (None, PRIVATE, "", "nan", float("nan"), float("inf"), 1e39, -1e308, 10**400, [1.0], {"a": 1}):
        label = "null" if value is None else repr(value)[:12]
        for one, request in five_forms(names, [first, with_cell(second, "" if value is None else value)]).items():
            sent = send(json.loads(request.body.replace(b'""', b"null"))) if value is None and one != "csv" else request
            found[f"{one}, {label}"] = Bad(sent, where[one])
    return found
