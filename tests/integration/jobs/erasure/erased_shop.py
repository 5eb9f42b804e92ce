"""A shop in which a customer has rows wherever rows can be; and a search for them through every file."""

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artefacts.log_rows import inference_log_schema
from contract import ModelContract
from jobs.erasure.erase import Erasure, erase
from jobs.settings import JobsSettings
from jobs.stream.order_events import RefusedEvent
from scoring.inference_log import read_log
from scoring.pseudonyms import Pseudonyms
from service.inference_log.files import Limits, LogFiles
from tests.integration.jobs.streaming_shop import NOW, StreamingShop

ERASED, PREFIX_OF_IT, OTHERS = "00001", "0000", ["000011", "00002", "brand-new"]
SECRET, FORMER = b"k" * 32, b"f" * 32
SETTINGS = JobsSettings(lock_seconds=1)
SOON = NOW - timedelta(minutes=5)


@dataclass(frozen=True)
class ErasedShop:
    """folder: of everything; `var` in it has what jobs and the service write."""

    shop: StreamingShop

    @property
    def folder(self) -> Path:
        return self.shop.folder

    @property
    def log(self) -> Path:
        return self.shop.artefacts.inference_log

    def fill(self) -> None:
        """Rows of the customer and of others in the stores, the stream, the log, labels, lists and reports."""
        self.shop.reset()
        rows = [(f"s-{n}", customer, SOON, 20.0 + n) for n, customer in enumerate([*OTHERS, ERASED])]
        refused = tuple(RefusedEvent(json.dumps({"customer_id": c, "amount": -1}), "amount") for c in (ERASED, "00002"))
        self.shop.process(0, rows, (*refused, RefusedEvent(f"broken {ERASED}", "is not JSON")))
        write_log(self.log, self.shop.model.contract)
        var = self.folder / "var"
        incoming = var / "stream" / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"customer_id": customer, "amount": 1}) for customer in [ERASED, *OTHERS]]
        (incoming / "one.json").write_text("\n".join(lines) + "\n")
        labels = pa.table({"request_id": ["r-0", "r-1"], "row": pa.array([0, 0], pa.int32()), "label": [True, False]})
        pq.write_table(labels, var / "labels.parquet")
        (var / "list.csv").write_text(f"customer_id,segment\n{ERASED},a\n00002,b\n")
        (var / "skew").mkdir(exist_ok=True)
        examples = [{"customer_id": customer, "feature": "x"} for customer in (ERASED, "00002")]
        (var / "skew" / "skew.json").write_text(json.dumps({"examples": examples}))
        (var / "skew" / "skew.html").write_text(f"<td>{ERASED}</td>")

    def erase(self, key: str = ERASED, **how: Any) -> str:
        return erase(self.shop.artefacts, self.shop.orders, self.asked(key, **how), SETTINGS)

    def asked(self, key: str = ERASED, **how: Any) -> Erasure:
        keys = []
        for name, secret in (("now", SECRET), ("before", FORMER)):
            (self.folder / name).write_bytes(secret)
            keys.append(self.folder / name)
        folders = (self.folder / "var", *(self.shop.folders.predictions, self.shop.folders.dead_letters))
        return Erasure(key, self.folder / "var" / "erasures", folders, tuple(keys), **how)

    def receipts(self) -> list[Path]:
        return sorted((self.folder / "var" / "erasures").glob("*.json"))

    def places(self) -> list[str]:
        """Files that hold the customer, by key or by pseudonym, in plain bytes or as a value of Parquet."""
        forms = {ERASED, *(Pseudonyms(secret).of([ERASED])[0] for secret in (SECRET, FORMER))}
        found = []
        for file in self.files():
            if file.suffix in (".parquet", ".arrows"):
                rows = read_log(file) if file.suffix == ".arrows" else pq.read_table(file, partitioning=None)
                there = bool({str(value) for row in rows.to_pylist() for value in row.values()} & forms)
            else:
                raw = file.read_bytes()
                there = any(f"{a}{form}{b}".encode() in raw for form in forms for a, b in _EDGES)
            if there:
                found.append(str(file.relative_to(self.folder)))
        return found

    def files(self) -> list[Path]:
        others = {"redis", "from_nothing", "feast", "own.csv", "model", "erased_keys"}
        return [
            file
            for file in sorted(self.folder.rglob("*"))
            if file.is_file() and not {*file.relative_to(self.folder).parts} & others
        ]

    def others(self) -> dict[str, Any]:
        """Every row of other customers, by file without the build's name."""
        found: dict[str, Any] = {}
        for file in (each for each in self.files() if each.suffix == ".parquet"):
            name = str(file.relative_to(self.folder))
            if "/builds/" in name and (self.shop.artefacts.offline_store / "current").resolve() not in file.parents:
                continue
            name = name.replace((self.shop.artefacts.offline_store / "current").resolve().name, "current")
            rows = pq.read_table(file, partitioning=None)
            if "customer_id" in rows.column_names:
                found[name] = [row for row in rows.to_pylist() if row["customer_id"] in (*OTHERS, "00003")]
        return found


_EDGES = [('"', '"'), (">", "<"), ("\n", ","), (" ", '"')]


def write_log(folder: Path, contract: ModelContract) -> None:
    """Answers under the key and under both pseudonyms; one file is complete, one was left by a killed process."""
    schema = inference_log_schema(contract)
    names = [ERASED, *(Pseudonyms(secret).of([ERASED])[0] for secret in (SECRET, FORMER)), "00002"]
    names = [names[0], "00003", *names[1:]]
    for at, part in enumerate((names[:3], names[3:])):
        given = {
            "request_id": [f"r-{n}" for n in range(len(part))],
            "row": [0] * len(part),
            "customer_id": part,
            "as_of": [NOW] * len(part),
            "model_tag": ["churn:v1"] * len(part),
        }
        table = pa.table(
            [pa.array(given.get(field.name, [None] * len(part)), field.type) for field in schema], schema=schema
        )
        files = LogFiles(folder, Limits(10**9, 600, 30))
        files.append(table, NOW + timedelta(seconds=at))
        if at == 0:
            files.close()
        else:
            files._end()  # as a killed process leaves it
