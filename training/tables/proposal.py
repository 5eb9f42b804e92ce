"""Everything that a written use case says, apart from its wording."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.tables.columns import Feature, LeftOut
from training.tables.outcome import Outcome


@dataclass(frozen=True)
class Location:
    """Where the rows of the use case's table are.

    kind: `csv` (a file that `make data` brings here), `parquet` or `postgres`.
    address: path of the file or folder, below the project or absolute; or name of the table.
    is_folder: of Parquet files.
    """

    kind: str
    address: str
    is_folder: bool = False

    @property
    def is_elsewhere(self) -> bool:
        """True for files that are not below the project."""
        return self.kind != "postgres" and self.address.startswith("/")

    @property
    def is_pushed_to(self) -> bool:
        """True if Feast can add rows: to a single Parquet file, which no `make data` replaces."""
        return self.kind == "parquet" and not self.is_folder


@dataclass(frozen=True)
class Proposal:
    """A use case on a table.

    project: of Feast, which no other use case may have.
    keys: join key → its type, as Feast's `ValueType` names it.
    time: column of the rows' times.
    columns: proposals in the table's order.
    imported: header → type of a CSV file's columns; empty for other tables.
    zone: of the CSV file's times that name none.
    stamped: the CSV file has no time, so that its rows have that of the file.
    by_time: the splits go by time; else by entity.
    label_days: days until the outcome is known; 0 for none.
    max_calibration_error: for the gate.
    """

    name: str
    project: str
    location: Location
    keys: dict[str, str]
    time: str
    outcome: Outcome
    columns: Sequence[Feature | LeftOut]
    imported: dict[str, str]
    zone: str
    stamped: bool
    by_time: bool
    label_days: int
    max_calibration_error: float

    @property
    def table_variable(self) -> str:
        """Environment variable that says where a Parquet table is, if it is not below the project."""
        return f"{self.name.upper()}_TABLE"

    @property
    def features(self) -> list[Feature]:
        """The columns that become features."""
        return [each for each in self.columns if isinstance(each, Feature)]

    @property
    def entities(self) -> dict[str, str]:
        """Join key → name of its entity."""
        return {key: key.removesuffix("_id").removesuffix("_ID") or key for key in self.keys}

    @property
    def inputs(self) -> dict[str, Feature]:
        """Name of each model input → its feature."""
        found: dict[str, Feature] = {}
        for feature in self.features:
            width = int(feature.tags["width"]) if feature.kind == "embedding" else None
            name = f"{self.name}__{feature.name}"
            found |= {name: feature} if width is None else {f"{name}__{i}": feature for i in range(width)}
        return found
