"""The offline store as a place: a new build without the entity's rows takes the place of the one that has them."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from artefacts.build_files import STREAMED, STREAMED_ROWS, UNDER_WAY, written, wrong_in
from artefacts.build_record import Partition
from artefacts.process.atomic_files import replaced_file, write_atomically
from jobs.erasure.entity import Entity
from jobs.erasure.rewriting import rewrite_parquet, rows_in_parquet
from jobs.errors import JobError
from jobs.offline_store.builds import next_history, only_build, put_in_place, read_build, switching


@dataclass
class Builds:
    """The build in place, the rows that the stream has added to it, and the builds that were kept beside it.

    streamed: folder of the stream's events.
    """

    entity: Entity
    offline_store: Path
    streamed: Path
    name: str = "offline store"

    def count(self) -> dict[str, int]:
        """See `Place`."""
        return {
            str(file.relative_to(self.offline_store)): count
            for build in self._builds()
            for file, count in self._rows_of(build).items()
        }

    def left(self) -> list[str]:
        """See `Place`: nothing."""
        return []

    def erase(self) -> None:
        """Raises JobError if another build is running, or a file that must be written again is damaged."""
        with only_build(self.offline_store) as partial:
            current = self._current()
            if current is not None and any(STREAMED not in file.parts for file in self._rows_of(current)):
                self._rebuild(current, partial)
            with switching(self.offline_store):
                if (current := self._current()) is not None:
                    for file in self._rows_of(current):
                        self._erase_streamed(file)
                for build in self._builds():
                    if build != current and self._rows_of(build):
                        left = build.with_suffix(".partial")  # swept by the next build, if this process is killed
                        build.rename(left)
                        shutil.rmtree(left)

    def _current(self) -> Path | None:
        current = self.offline_store / "current"
        return current.resolve() if current.is_symlink() and current.exists() else None

    def _builds(self) -> Iterator[Path]:
        folder = self.offline_store / "builds"
        yield from (sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else ())

    def _rows_of(self, build: Path) -> dict[Path, int]:
        counted = {
            file: rows_in_parquet(file, self.entity.rows_of, tuple(self.entity.values))
            for file in sorted(build.rglob("*.parquet"))
        }
        return {file: count for file, count in counted.items() if count}

    def _rebuild(self, current: Path, partial: Path) -> None:
        build = read_build(self.offline_store)
        removed = self._rows_of(current)
        files = {view: {part: dict(known) for part, known in parts.items()} for view, parts in build.files.items()}
        partitions = {
            view: {p: Partition(**known) for p, known in parts.items()} for view, parts in build.partitions.items()
        }
        rows = dict(build.rows)
        for folder in sorted(current.glob("*/*/")):
            view, part = folder.relative_to(current).parts
            if part == STREAMED:
                continue
            target = partial / view / part
            target.mkdir(parents=True)
            for file in sorted(folder.glob("*.parquet")):
                if (count := removed.get(file, 0)) == 0:
                    os.link(file, target / file.name)
                    continue
                known = files.get(view, {}).get(part, {})
                if file.name in known and (fault := next(wrong_in(folder, {file.name: known[file.name]}), None)):
                    raise JobError(f"{fault}; `make features` mends it")
                rewrite_parquet(file, self.entity.rows_of, target / file.name)
                if file.name in known:
                    known[file.name] = written(target / file.name)
                if view in rows:
                    rows[view] -= count
                if part in partitions.get(view, {}):
                    before = partitions[view][part]
                    partitions[view][part] = Partition(rows=before["rows"] - count, build=partial.stem)
        made = replace(
            build, name=partial.stem, rows=rows, partitions=partitions, files=files, history=next_history(build)
        )
        put_in_place(partial, made, self.offline_store, self.streamed)

    def _erase_streamed(self, file: Path) -> None:
        """Under a mark that says that the batch is not complete: a killed process leaves it to the stream to end it."""
        batch = self.streamed / f"batch={file.stem.removeprefix('batch-')}"
        mark, record = batch / UNDER_WAY, batch / STREAMED_ROWS
        own = record.exists() and not mark.exists()
        if own:
            mark.touch()
        with replaced_file(file, durable=True) as partial:
            rewrite_parquet(file, self.entity.rows_of, partial)
        if record.exists():
            said = json.loads(record.read_text(encoding="utf-8"))
            write_atomically(record, json.dumps({**said, file.parent.parent.name: written(file)}))
        if own:
            mark.unlink()
