"""A build that was replaced while somebody checks it is not damaged for that."""

import json
from pathlib import Path

from artefacts.build_files import STREAMED_ROWS, damage, relative_to_store, written


def test_rows_that_the_stream_added_to_the_next_build_are_not_missing_in_the_one_before(tmp_path: Path) -> None:
    streamed, builds = tmp_path / "streamed", tmp_path / "store" / "builds"
    record = {"files": {}, "streamed_batches": [], "streamed_from": relative_to_store(streamed, tmp_path / "store")}
    for name in ("old", "new"):
        (builds / name / "view" / "streamed").mkdir(parents=True)
        (builds / name / "build.json").write_text(json.dumps(record))
    rows = builds / "new" / "view" / "streamed" / "batch-7.parquet"
    rows.write_bytes(b"rows")
    (streamed / "batch=7").mkdir(parents=True)
    (streamed / "batch=7" / STREAMED_ROWS).write_text(json.dumps({"view": written(rows)}))
    current = tmp_path / "store" / "current"
    current.symlink_to(Path("builds") / "new")

    assert damage(builds / "old") is None

    rows.unlink()
    assert "batch-7.parquet: is missing" in str(damage(builds / "new"))
