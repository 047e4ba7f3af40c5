"""A log's identity stays through everything that happens to it, and is another once it was made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa

from headrace.log import EventLog, made_log, make_log
from headrace.plan import Column, DType, Source
from tests.worker.shop import MINUTE, NOON, SOURCE


def sales(offset: int, source: Source = SOURCE) -> pa.Table:
    """One sale, as a source declares it."""
    ts_us = NOON * 1000 + offset * MINUTE
    values = {"shop": "a", "sold_at": ts_us, "price": 1.0, "pieces": 2, "note": "new"}
    types = {DType.STRING: pa.string(), DType.INT64: pa.int64(), DType.FLOAT64: pa.float64()}
    own = {
        column.name: pa.array([values[column.name]], types.get(column.dtype, pa.timestamp("us", "UTC")))
        for column in source.columns
    }
    place = {"_ts_us": ts_us, "_known_at_us": ts_us, "_offset": offset, "_record_ts_us": ts_us}
    return pa.table(own | {"_partition": pa.array([0], pa.int32())} | {k: pa.array([v]) for k, v in place.items()})


def changed(**columns: DType) -> Source:
    """The source with fields of other types, or new ones."""
    kept = [
        column.model_copy(update={"dtype": columns.pop(column.name)}) if column.name in columns else column
        for column in SOURCE.columns
    ]
    return SOURCE.model_copy(
        update={"columns": (*kept, *(Column(name=name, dtype=dtype, nullable=True) for name, dtype in columns.items()))}
    )


def test_log_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert made_log(tmp_path, SOURCE) is None


def test_identity_stays_whatever_happens_to_a_log(tmp_path: Path) -> None:
    first = make_log(tmp_path, SOURCE)
    assert first.at_us is not None
    EventLog(tmp_path, SOURCE).append(sales(0), {0: 0})
    for offset, source in enumerate((changed(note=DType.STRING), changed(pieces=DType.FLOAT64)), 1):
        EventLog(tmp_path, source).append(sales(offset, source), {0: offset})
    log = EventLog(tmp_path, changed(pieces=DType.FLOAT64))
    log.compact()
    log.vacuum(retention_s=0)
    log.erase({"shop": pa.scalar("a")}, alone=True)
    assert make_log(tmp_path, SOURCE) == made_log(tmp_path, SOURCE) == first


def test_log_that_was_made_anew_is_another(tmp_path: Path) -> None:
    first = make_log(tmp_path, SOURCE)
    shutil.rmtree(tmp_path / "sales")
    assert make_log(tmp_path, SOURCE).id != first.id
