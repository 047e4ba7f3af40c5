"""A test bed whose log is one Parquet file per topic, so that thousands of cases a minute can be checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.log import Appended, EventLog, LogFile, LogSnapshot
from headrace.log.log_columns import DATE, OFFSET, PARTITION, laid_out, table_schema
from headrace.plan import Source
from headrace.testing import Testbed

__all__ = ["QuickBed"]


class _OneFile(LogSnapshot):
    """A snapshot whose only file holds events of any date."""

    def between(self, from_us: int | None, until_us: int | None) -> list[str]:
        return [file.path for file in self.files]


class _FileLog(EventLog):
    """A log in memory that keeps the rule of the real one: what it has, it does not take again."""

    def __init__(self, root: Path, source: Source) -> None:
        super().__init__(root, source)
        self._rows = table_schema(source).empty_table()
        self._ends: dict[int, int] = {}

    def append(self, table: pa.Table, positions: Mapping[int, int]) -> Appended:
        rows = laid_out(table, table_schema(self.source), self.source.topic)
        at = zip(rows.column(PARTITION).to_pylist(), rows.column(OFFSET).to_pylist(), strict=True)
        fresh = rows.filter(pa.array([offset > self._ends.get(partition, -1) for partition, offset in at], pa.bool_()))
        self._rows = pa.concat_tables([self._rows, fresh])
        self._ends = {
            partition: max(self._ends.get(partition, -1), positions.get(partition, -1))
            for partition in {*self._ends, *positions}
        }
        return Appended(fresh.num_rows, self._rows.num_rows)

    def last_offsets(self, partitions: Iterable[int] | None = None) -> dict[int, int]:
        return dict(self._ends)

    def snapshot(self, version: int | None = None) -> LogSnapshot:
        self.path.mkdir(parents=True, exist_ok=True)
        name = self.path / f"{self._rows.num_rows}.parquet"
        if not name.exists():  # rows are only ever added
            pq.write_table(self._rows.drop_columns(DATE), name)
        ends = pc.min_max(self._rows.column(OFFSET)).as_py()
        file = LogFile(
            str(name),
            date.min,
            self._rows.num_rows,
            (0, max(self._ends, default=0)),
            (ends["min"] or 0, ends["max"] or 0),
        )
        files = (file,) if self._rows.num_rows else ()
        return _OneFile(self.source.topic, self.location, 0, self._rows.schema, files)


class QuickBed(Testbed):
    """A test bed whose log is quick; it outlives the workers, as a Delta table does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._kept: dict[str, _FileLog] = {}
        super().__init__(*args, **options)

    def _open_log(self, source: Source) -> EventLog:
        if source.topic not in self._kept:
            self._kept[source.topic] = _FileLog(Path(self._folder.name) / "log", source)
        return self._kept[source.topic]
