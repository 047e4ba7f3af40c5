from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.log import LogFile, LogSnapshot
from headrace.log.location import Location
from headrace.log.log_columns import table_schema
from headrace.plan import Source
from tests.history.oracle import Event

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LogOf = Callable[[Source, Sequence[Event]], LogSnapshot]


@pytest.fixture(scope="session")
def log_of(tmp_path_factory: pytest.TempPathFactory) -> LogOf:
    """Writes events as a log's files, one per date, without Delta around them."""
    folder = tmp_path_factory.mktemp("log [files]")
    numbers = count()

    def write(source: Source, events: Sequence[Event]) -> LogSnapshot:
        schema = table_schema(source)
        files = []
        for day in sorted({_date(event.ts) for event in events}):
            mine = [event for event in events if _date(event.ts) == day]
            path = folder / f"{next(numbers)}.parquet"
            pq.write_table(_table(source, mine, schema), path)
            partitions, offsets = [event.partition for event in mine], [event.offset for event in mine]
            span = (min(partitions), max(partitions)), (min(offsets), max(offsets))
            files.append(LogFile(str(path), day, len(mine), *span))
        return LogSnapshot(source.topic, Location.of(folder), 0, schema, tuple(files))

    return write


def _date(ts: int) -> date:
    return (EPOCH + timedelta(microseconds=ts)).date()


def _table(source: Source, events: Sequence[Event], schema: pa.Schema) -> pa.Table:
    columns = {column.name: [event.values[column.name] for event in events] for column in source.columns}
    own = {
        "_ts_us": [event.ts for event in events],
        "_known_at_us": [event.known_at for event in events],
        "_partition": [event.partition for event in events],
        "_offset": [event.offset for event in events],
        "_record_ts_us": [event.known_at for event in events],
    }
    fields = [field for field in schema if field.name != "_date"]
    return pa.table(
        [pa.array({**columns, **own}[field.name], field.type) for field in fields], schema=pa.schema(fields)
    )
