"""Compares served values with the point-in-time join: which differ, why, and which decisions that changed.

Each logged decision is replayed at its own time, with the code of batch scoring, and compared value by value.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from artefacts.addresses import Artefacts
from artefacts.output_columns import key_fields
from contract import ContractError, KeyValue, ModelContract
from jobs.errors import ArgumentError, JobError
from jobs.feature_store import open_feature_store
from jobs.inference_log.reading import LoggedRows, LogReading, Opener, explain_nothing_found, logged_keys
from jobs.offline_store.builds import check_whole, kept_builds
from jobs.offline_store.latest_rows import ViewSource, changed_keys, connect, key_ranges
from jobs.offline_store.view_files import build_of
from jobs.skew.audit_result import AuditResult, summary
from jobs.skew.findings import FAULTS
from jobs.skew.model_audit import ModelAudit
from jobs.skew.replay import OfflineReplay
from jobs.skew.report import write
from jobs.times import format_range, refuse_empty_range
from scoring.errors import ModelError
from scoring.models.model_store import open_model
from scoring.pseudonyms import Pseudonyms, are_pseudonyms

if TYPE_CHECKING:
    from feast import FeatureStore

KEYS_PER_RANGE = 100_000


class NothingToAuditError(JobError):
    """The log holds no answered row in the time range."""

    exit_code = 4


class SkewError(JobError):
    """More values than allowed are unexplained or faulty, or more answers than allowed would have changed."""

    exit_code = 3


@dataclass(frozen=True)
class Audit:
    """The decisions to audit, and the differences that are allowed.

    out: folder of the report.
    since, until: decisions of [since, until), UTC; None is an open end.
    sample: at most this many rows, drawn at random; None for all.
    id_key_file: the secret key with which the log's keys were made pseudonyms.
    max_unexplained: values that may differ without an explanation.
    max_faults: values that may differ by one of `findings.FAULTS`.
    max_moved: share of answers that the offline vector may change.
    build_max_age_hours: if the build in place at a decision is older, a build was missed.

    Raises:
        ArgumentError: a number is out of range, or the time range is empty.
    """

    out: Path
    since: datetime | None = None
    until: datetime | None = None
    sample: int | None = None
    id_key_file: Path | None = None
    max_unexplained: int = 0
    max_faults: int = 0
    max_moved: float = 0.01
    build_max_age_hours: float = 26

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < 1:
            raise ArgumentError(f"--sample {self.sample}: expected at least 1 row")
        if self.max_unexplained < 0:
            raise ArgumentError(f"--max-unexplained {self.max_unexplained}: expected 0 or more values")
        if self.max_faults < 0:
            raise ArgumentError(f"--max-faults {self.max_faults}: expected 0 or more values")
        if not 0 <= self.max_moved <= 1:
            raise ArgumentError(f"--max-moved {self.max_moved}: expected a share from 0 to 1")
        refuse_empty_range(self.since, self.until)


def audit_skew(artefacts: Artefacts, audit: Audit, opened: Opener = open_model) -> dict[str, Any]:
    """Audit and write the report. Memory is bounded by a chunk of rows, and by the pseudonyms of the log.

    Args:
        opened: a model by its tag.

    Returns:
        What `skew.json` holds.

    Raises:
        NothingToAuditError: there is no answered row, and nothing was written.
        SkewError: the report is written and a threshold is exceeded.
        JobError: the key cannot be used, or no row could be audited, and nothing was written; or the report is written,
            and a file of the log or the rows of a model could not be audited.
    """
    started = time.monotonic()
    reading = LogReading(artefacts.inference_log, audit.since, audit.until, audit.sample)
    result = _audited(artefacts, audit, reading, opened)
    result.problems += reading.damaged
    if not result.rows:
        if result.problems:
            raise JobError("nothing could be audited: " + "; ".join(result.problems))
        nothing = f"no answered row {format_range(audit.since, audit.until)}"
        raise NothingToAuditError(explain_nothing_found(reading.folder, nothing))
    exceeded = _exceeded(audit, result)
    now = datetime.now(UTC)
    run = {
        "audited_at": now.isoformat(),
        "outcome": "thresholds exceeded" if exceeded else "incomplete" if result.problems else "ok",
        "seconds": round(time.monotonic() - started, 1),
        "log": str(reading.folder),
        "since": audit.since and audit.since.isoformat(),
        "until": audit.until and audit.until.isoformat(),
        "sample": audit.sample,
        "files": reading.files,
        "empty": reading.empty,
        "max_unexplained": audit.max_unexplained,
        "max_faults": audit.max_faults,
        "max_moved": audit.max_moved,
    }
    report = summary(result, run)
    write(audit.out, result, report, now)
    if exceeded:
        raise SkewError(f"{'; '.join([*exceeded, *result.problems])}; see {audit.out / 'skew.html'}")
    if result.problems:
        raise JobError(f"not everything could be audited, the rest is in {audit.out}: {'; '.join(result.problems)}")
    return report


def _audited(artefacts: Artefacts, audit: Audit, reading: LogReading, opened: Opener) -> AuditResult:
    result = AuditResult()
    audits: dict[str, ModelAudit | None] = {}
    with connect() as connection:
        identities = _Identities(connection, reading, audit.id_key_file)
        store: FeatureStore | None = None
        for tag, table in reading.chunks():
            try:
                if tag not in audits:
                    audits[tag] = None  # so that a model's problem is reported once
                    model = opened(tag)
                    store = store or open_feature_store(artefacts)
                    replay = OfflineReplay(store, model.contract, connection)
                    for build in {build_of(source) for source in replay.sources}:
                        check_whole(build)
                        for older in kept_builds(build):  # the audit reads rows of these, too
                            check_whole(older)
                    audits[tag] = ModelAudit(model, replay, audit.build_max_age_hours * 3600)
                    result.notes += replay.notes
            except (ModelError, ContractError, JobError) as error:
                result.problems.append(f"rows of model {tag}: {error}")
            model_audit = audits[tag]
            table = model_audit.under_its_contract(table, result) if model_audit else table
            if model_audit is None or not table.num_rows:
                continue
            try:
                keys = identities.of(table, model_audit.contract, model_audit.replay.sources)
                model_audit.audit(LoggedRows.of(table, keys, model_audit.contract), result)
            except ModelError as error:
                result.problems.append(f"rows of model {tag}: {error}")
    return result


class _Identities:
    """Finds the entities behind the log's pseudonyms, by computing the pseudonym of each key offline."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, reading: LogReading, key_file: Path | None) -> None:
        self._connection = connection
        self._reading = reading
        self._pseudonyms = Pseudonyms.from_file(key_file) if key_file else None
        self._found: dict[str, dict[str, KeyValue]] = {}

    def of(self, table: pa.Table, contract: ModelContract, sources: Sequence[ViewSource]) -> pa.Table:
        """Return the keys of n rows, a column per join key. A pseudonym of nobody in the offline store is null.

        Raises:
            ModelError: the rows have another key than the contract.
            JobError: the log has pseudonyms, and the key is missing or not the one that made them.
        """
        logged = logged_keys(table, contract)
        columns = {
            field.name: self._known(logged[field.name].combine_chunks(), field, contract, sources)
            for field in key_fields(contract)
        }
        return pa.table(columns, schema=pa.schema(key_fields(contract)))

    def _known(
        self, logged: pa.Array, field: pa.Field, contract: ModelContract, sources: Sequence[ViewSource]
    ) -> pa.Array:
        if not pa.types.is_string(logged.type):
            return logged.cast(field.type)
        hidden = are_pseudonyms(logged)
        if pa.types.is_string(field.type) and not pc.any(hidden).as_py():
            return logged
        if self._pseudonyms is None:
            raise JobError("the log's keys are pseudonyms; name the file of their secret key: --id-key-file")
        if field.name not in self._found:
            self._found[field.name] = self._among(field.name, sources, self._pseudonyms)
        found = self._found[field.name]
        if not found:
            raise JobError(
                f"no {contract.entity} of the offline store has a pseudonym of the log; is it the service's key?"
            )
        pairs = zip(logged.to_pylist(), hidden.to_pylist(), strict=True)
        return pa.array([found.get(key) if is_hidden else key for key, is_hidden in pairs], field.type)

    def _among(self, join_key: str, sources: Sequence[ViewSource], pseudonyms: Pseudonyms) -> dict[str, KeyValue]:
        """Pseudonym → the value of this join key, for those of the log that some view has."""
        wanted, found = self._reading.texts_of(join_key), dict[str, KeyValue]()
        latest = datetime.max.replace(tzinfo=UTC)
        holding = [source.read_by(join_key) for source in sources if join_key in source.join_keys]
        for key_range in key_ranges(self._connection, holding, KEYS_PER_RANGE):
            for source in holding:
                keys = changed_keys(self._connection, source, latest, key_range)[join_key].to_pylist()
                made = zip(pseudonyms.of(keys), keys, strict=True)
                found.update((pseudonym, key) for pseudonym, key in made if pseudonym in wanted)
        return found


def _exceeded(audit: Audit, result: AuditResult) -> list[str]:
    exceeded = []
    if result.unexplained > audit.max_unexplained:
        again = f" ({result.not_reproduced:,} scores are not the model's)" if result.not_reproduced else ""
        exceeded.append(f"{result.unexplained:,} are unexplained{again}, {audit.max_unexplained:,} are allowed")
    if result.faults > audit.max_faults:
        kinds = ", ".join(f"{result.by_class[kind]:,} {kind}" for kind in FAULTS if result.by_class[kind])
        exceeded.append(f"{kinds}: {audit.max_faults:,} faults are allowed")
    if result.moved_share > audit.max_moved:
        exceeded.append(
            f"{result.moved_answers:,} of {result.compared_rows:,} answers ({result.moved_share:.2%}) would be "
            f"others by the offline vector, {audit.max_moved:.2%} are allowed"
        )
    return exceeded


def outcome_line(report: Mapping[str, Any]) -> str:
    """The outcome in one line, for a terminal."""
    classes = ", ".join(f"{count:,} {kind}" for kind, count in report["classes"].items() if count)
    moved = report["moved"]
    return (
        f"{report['rows']:,} rows, {report['values']:,} values: {report['differences']:,} differ"
        f"{f' ({classes})' if classes else ''}; {moved['answers']:,} answers would be others, "
        f"scores move by {moved['score_max']:.3g} at most; {report['seconds']} s"
    )
