"""MLflow's scoring protocol: turns a request that carries the features into model input."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract import FeatureInput
from service.api.body_work import MOST_COLUMNS, refuse_many_parts
from service.api.invocations.mlflow_cells import CellReader, Cells
from service.api.invocations.mlflow_csv import read_csv
from service.errors import InvalidRequestError, RequestTooLargeError, UnsupportedMediaTypeError

JSON_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_CHAT_MEMBERS = frozenset({"messages", "prompt", "input"})
"""MLflow takes a body with one of these members for a chat."""


class ScoringProtocol:
    """Reads requests for one model.

    It accepts and refuses what `mlflow models serve` does for a signature of named columns of floats or texts and a
    pipeline that takes no nulls: extra columns and `params` are ignored, columns come in any order, text that reads as
    a number is one. It is narrower than MLflow on purpose: at most `max_rows` rows and `MOST_COLUMNS` columns; no
    infinity, and null only where the contract keeps it; a category is text; no chat bodies, no Parquet;
    `dataframe_split` has a list of lists and one label per row; every instance has all inputs (MLflow makes one row of
    two instances with half of the inputs each). A null category becomes `MISSING_TEXT`; `on_unseen` of the contract
    says what becomes of an unknown one.

    Args:
        names: the model's inputs, in model order.
        inputs: what the contract says of those that are categories or keep nulls.
    """

    def __init__(self, names: Sequence[str], max_rows: int, inputs: Iterable[FeatureInput] = ()) -> None:
        self._names = list(names)
        self._reader = CellReader(names, inputs)
        self._known = frozenset(names)
        self._max_rows = max_rows

    def parse(self, content_type: str | None, raw: bytes) -> NDArray[np.float32]:
        """Read a request body.

        Args:
            content_type: the header; None if there was none.

        Returns:
            float32 (n, k) in model order, n ≥ 1; see `CellReader.matrix`.

        Raises:
            UnsupportedMediaTypeError: neither JSON nor CSV, or not in UTF-8.
            RequestTooLargeError: more than `max_rows` rows, `MOST_COLUMNS` columns or `MOST_BLANK_LINES` blank lines.
            InvalidRequestError: anything else; `field` is the path of the first cell or member that is wrong.
        """
        if _media_type(content_type) == "text/csv":
            rows = read_csv(raw, self._names, self._max_rows, self._reader.texts, self._reader.nullable)
            return self._reader.matrix(Cells(rows, lambda row, name: f"csv.{row}.{name}"))
        # A list or an object for each row, and as many again in up to fifteen columns that the model does not take.
        text = _decoded(raw)
        refuse_many_parts(text.encode("utf-8", "surrogatepass"), 16 * self._max_rows + MOST_COLUMNS)
        form, content = _json_form(text)
        return self._reader.matrix(self._cells(form, content))

    def _cells(self, form: str, content: Any) -> Cells:
        if form == "dataframe_split":
            return self._split(content, form)
        if form == "dataframe_records":
            return self._records(content, form)
        if isinstance(content, list):
            if len(self._names) == 1 and not any(isinstance(value, dict) for value in content):
                return self._columns({self._names[0]: content}, form)
            if content and not all(isinstance(value, list) for value in content):
                return self._regular_records(content, form)
        if not isinstance(content, dict):
            raise InvalidRequestError.at(form, "must name its columns: a list of objects, or an object of lists")
        return self._columns(content, form)

    def _split(self, frame: Any, form: str) -> Cells:
        """Rows as lists, and once the names of their columns."""
        if not isinstance(frame, dict) or "data" not in frame or frame.keys() - {"columns", "data", "index"}:
            raise InvalidRequestError.at(form, "must be an object of columns, data and optionally index")
        columns: Any = frame.get("columns")
        data, index = frame["data"], frame.get("index")
        positions = self._positions(columns, f"{form}.columns")
        if not isinstance(data, list):
            raise InvalidRequestError.at(f"{form}.data", "must be a list of rows")
        self._limit(len(data), f"{form}.data")
        if index is not None and (not isinstance(index, list) or len(index) != len(data) or _any_list(index)):
            raise InvalidRequestError.at(f"{form}.index", "must be a list of one label for each row")
        if len(columns) == 1 and not isinstance(data[0], list):
            data = [[cell] for cell in data]
        for row, cells in enumerate(data):
            if not isinstance(cells, list) or len(cells) > len(columns):
                raise InvalidRequestError.at(
                    f"{form}.data.{row}", "must be a list of no more cells than there are columns"
                )
        if max(len(cells) for cells in data) < len(columns):
            raise InvalidRequestError.at(f"{form}.data", "has fewer cells in every row than there are columns")
        # A short row ends in nulls, which only matters if one of them is an input of the model.
        rows = [[cells[at] if at < len(cells) else None for at in positions] for cells in data]
        return Cells(rows, lambda row, name: f"{form}.data.{row}.{name}")

    def _records(self, records: Any, form: str) -> Cells:
        """Rows as objects of column and value."""
        if not isinstance(records, list):
            raise InvalidRequestError.at(form, "must be a list of objects")
        self._limit(len(records), form)
        for row, record in enumerate(records):
            if not isinstance(record, dict):
                raise InvalidRequestError.at(f"{form}.{row}", "must be an object of column and value")
            _limit_columns(len(record), f"{form}.{row}")
            for name in self._names:
                if name not in record:
                    raise _missing(f"{form}.{row}.{name}")
        rows = [[record[name] for name in self._names] for record in records]
        return Cells(rows, lambda row, name: f"{form}.{row}.{name}")

    def _regular_records(self, records: list[Any], form: str) -> Cells:
        """Records whose extra values MLflow turns into arrays before it ignores them."""
        cells = self._records(records, form)
        if form == "inputs":
            extras = [value for record in records for name, value in record.items() if name not in self._known]
        else:
            # MLflow makes columns of instances, and they must have the same length.
            for row, record in enumerate(records):
                if record.keys() != records[0].keys():
                    raise InvalidRequestError.at(f"{form}.{row}", "must have the same members as the first instance")
            # A column without a list is not ragged.
            lists = {name for record in records for name, value in record.items() if isinstance(value, list)}
            extras = [[record[name] for record in records] for name in lists - self._known]
        if any(_is_ragged(values) for values in extras):
            raise InvalidRequestError.at(form, "has a column of lists of different lengths")
        return cells

    def _columns(self, content: dict[str, Any], form: str) -> Cells:
        """Columns as lists; a single value stands for a column of it."""
        _limit_columns(len(content), form)
        for name in self._names:
            if name not in content:
                raise _missing(f"{form}.{name}")
        lengths = {len(values) for values in content.values() if isinstance(values, list)}
        if len(lengths) > 1:
            raise InvalidRequestError.at(form, "must have as many values in every column")
        if not lengths and len(content) > len(self._names):
            raise InvalidRequestError.at(form, "must hold a list if there are more columns than the model's inputs")
        if any(_is_ragged(values) for name, values in content.items() if name not in self._known):
            raise InvalidRequestError.at(form, "has a column of lists of different lengths")
        count = lengths.pop() if lengths else 1
        self._limit(count, form)
        given = [content[name] for name in self._names]
        rows = list(zip(*(values if isinstance(values, list) else [values] * count for values in given), strict=True))

        def locate(row: int, name: str) -> str:
            return f"{form}.{name}.{row}" if isinstance(content[name], list) else f"{form}.{name}"

        return Cells(rows, locate)

    def _positions(self, columns: Any, path: str) -> list[int]:
        """Where the model's inputs are among the columns of a request."""
        if isinstance(columns, list):
            _limit_columns(len(columns), path)
        if not isinstance(columns, list) or any(isinstance(name, list | dict) for name in columns):
            raise InvalidRequestError.at(path, "must be a list of column names")
        found: dict[str, int] = {}
        for at, name in enumerate(columns):
            if name in self._known and found.setdefault(name, at) != at:
                raise InvalidRequestError.at(f"{path}.{at}", "is there twice")
        for name in self._names:
            if name not in found:
                raise _missing(f"{path}.{name}")
        return [found[name] for name in self._names]

    def _limit(self, rows: int, path: str) -> None:
        if rows > self._max_rows:
            raise RequestTooLargeError(f"{path}: at most {self._max_rows} rows in one request", field=path)
        if rows == 0:
            raise InvalidRequestError.at(path, "must hold at least one row")


def _media_type(content_type: str | None) -> str:
    kind, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    if kind not in ("application/json", "text/csv"):
        raise UnsupportedMediaTypeError("Content-Type must be application/json or text/csv", field="Content-Type")
    for parameter in parameters:
        if parameter not in ("charset=utf-8", 'charset="utf-8"'):
            raise UnsupportedMediaTypeError("Content-Type: no parameter but charset=utf-8", field="Content-Type")
    return kind


def _decoded(raw: bytes) -> str:
    """Decode as json does, which accepts UTF-16 and UTF-32 too. Their bytes cannot be searched for brackets."""
    try:
        return raw.decode(json.detect_encoding(raw), "surrogatepass")
    except ValueError:
        raise InvalidRequestError("body is not valid JSON") from None


def _json_form(text: str) -> tuple[str, Any]:
    """Return the form of `JSON_FORMS` that a body uses, and its content."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequestError("body is not valid JSON") from None
    forms = [form for form in JSON_FORMS if isinstance(body, dict) and form in body]
    if len(forms) != 1 or body.keys() & _CHAT_MEMBERS:
        raise InvalidRequestError(f"the body must be an object with exactly one of {', '.join(JSON_FORMS)}")
    return forms[0], body[forms[0]]


def _is_ragged(values: Any) -> bool:
    """True for nested lists that are no array. `np.array` would make every element as long as the longest text."""
    level = [values]
    while _any_list(level):
        if len({len(value) if isinstance(value, list) else -1 for value in level}) > 1:
            return True
        level = [element for value in level for element in value]
    return False


def _any_list(values: Iterable[Any]) -> bool:
    return list in map(type, values)  # three times as fast as isinstance for each; JSON has no other lists


def _limit_columns(columns: int, path: str) -> None:
    if columns > MOST_COLUMNS:
        raise RequestTooLargeError(f"{path}: at most {MOST_COLUMNS} columns", field=path)


def _missing(path: str) -> InvalidRequestError:
    return InvalidRequestError.at(path, "is missing, and the model needs it")
