"""A build that was replaced while somebody checks it is not damaged for that."""

import json
from pathlib import Path

from artefacts.build_files import STREAMED_ROWS, damage, written


def test_rows_that_the_stream_added_to_the_next_build_are_not_missing_in_the_one_before(tmp_path: Path) -> None:
    streamed_orders, builds = tmp_path / "streamed_orders", tmp_path / "store" / "builds"
    for name in ("old", "new"):
        (builds / name / "view" / "streamed").mkdir(parents=True)
        (builds / name / "build.json").write_text(json.dumps({"files": {}, "streamed_batches": []}))
    rows = builds / "new" / "view" / "streamed" / "batch-7.parquet"
    rows.write_bytes(b"rows")
    (streamed_orders / "batch=7").mkdir(parents=True)
    (streamed_orders / "batch=7" / STREAMED_ROWS).write_text(json.dumps({"view": written(rows)}))
    current = tmp_path / "store" / "current"
    current.symlink_to(Path("builds") / "new")

    assert damage(builds / "old", streamed_orders) is None

    rows.unlink()
    assert "batch-7.parquet: is missing" in str(damage(builds / "new", streamed_orders))
