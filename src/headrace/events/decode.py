"""From the bytes of a fetch to columns: every record is validated by the source's model, and what fails becomes a dead letter.

Records are validated one by one: pydantic parses and checks a record's JSON in one call, and a whole fetch joined into one JSON array measured no
faster, while two malformed records could then mend each other across the comma.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ValidationError

from headrace.events.batch import ARROW_TYPES, EventBatch
from headrace.events.columns import IntArray
from headrace.events.deadletter import DeadLetter
from headrace.plan import Column, DType, Source
from headrace.times import iso_time

__all__ = ["EventDecoder", "RawRecord"]

_LEAST, _GREATEST = -(2**63), 2**63 - 1


class RawRecord(Protocol):
    """What decoding reads of a Kafka record; aiokafka's and kafka-python's records both fit."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class EventDecoder:
    """Turns the records of one source into a batch of events and dead letters.

    Args:
        source: The source.
        model: Its pydantic model.
    """

    def __init__(self, source: Source, model: type[BaseModel]) -> None:
        self._source = source
        self._model = model
        self._validate: Callable[[bytes], BaseModel] = model.__pydantic_validator__.validate_json
        self._timestamps = [column.name for column in source.columns if column.dtype is DType.TIMESTAMP]
        self._integers = [column.name for column in source.columns if column.dtype is DType.INT64]

    def decode(self, records: Sequence[RawRecord], known_us: int | None = None) -> tuple[EventBatch, list[DeadLetter]]:
        """Validate records and lay the good ones out as columns.

        Args:
            records: Records of this source's topic, those of each partition in offset order.
            known_us: The `known_at` to note for now, in µs; None takes each record's own timestamp, as under the record clock.

        Returns:
            The events that hold, in order, and a dead letter for each record that does not.
        """
        good: list[RawRecord] = []
        rows: list[dict[str, Any]] = []
        dead: list[DeadLetter] = []
        for record in records:
            try:
                rows.append(self._row(record.value))
                good.append(record)
            except ValidationError as error:
                dead.append(self._dead(record, *_first_failure(error)))
            except _Unusable as error:
                dead.append(self._dead(record, error.reason, error.field))
        batch = self._batch(good, rows, known_us)
        future = batch.ts_us > batch.record_ts_us + self._source.max_future_us
        if future.any():
            dead += [self._dead(good[row], self._too_far(batch, row), self._source.timestamp_field) for row in np.flatnonzero(future)]
            keep = np.flatnonzero(~future).tolist()
            batch = self._batch([good[row] for row in keep], [rows[row] for row in keep], known_us)
        return batch, dead

    def _row(self, value: bytes | None) -> dict[str, Any]:
        if value is None:
            raise _Unusable("The record has no value.", None)
        row = self._validate(value).__dict__
        for name in self._timestamps:
            if row[name] is not None and row[name].tzinfo is None:
                raise _Unusable(f"{row[name].isoformat()} has no time zone; send UTC, such as {row[name].isoformat()}Z.", name)
        for name in self._integers:
            if row[name] is not None and not _LEAST <= row[name] <= _GREATEST:
                raise _Unusable(f"{row[name]} does not fit 64 bits.", name)
        return row

    def _batch(self, records: list[RawRecord], rows: list[dict[str, Any]], known_us: int | None) -> EventBatch:
        table = pa.table({column.name: _array(column, rows) for column in self._source.columns})
        ts = table.column(self._source.timestamp_field).combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False)
        record_ts = _ints([record.timestamp for record in records]) * 1000
        return EventBatch(
            self._source,
            table,
            ts,
            _ints([record.partition for record in records]),
            _ints([record.offset for record in records]),
            record_ts,
            record_ts if known_us is None else np.full(len(records), known_us, np.int64),
        )

    def _too_far(self, batch: EventBatch, row: int) -> str:
        event, record = (iso_time(int(us)) for us in (batch.ts_us[row], batch.record_ts_us[row]))
        allowed = self._source.max_future_us / 1e6
        return f"{event} is more than {allowed:g} s past the record's timestamp, {record} (max_future of the source)."

    def _dead(self, record: RawRecord, reason: str, field: str | None) -> DeadLetter:
        return DeadLetter(
            topic=self._source.topic,
            partition=record.partition,
            offset=record.offset,
            reason=reason,
            field=field,
            model=self._source.model,
            key=record.key,
            value=record.value,
            recorded_at_ms=record.timestamp,
        )


class _Unusable(Exception):
    """A record that the model accepts and the columns cannot hold."""

    def __init__(self, reason: str, field: str | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


def _first_failure(error: ValidationError) -> tuple[str, str | None]:
    failures = error.errors(include_url=False, include_context=False)
    first = failures[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    shown = repr(first.get("input"))
    shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"{first['msg']}; got {shown}{more}", field


def _array(column: Column, rows: list[dict[str, Any]]) -> pa.Array:
    return pa.array([row[column.name] for row in rows], type=ARROW_TYPES[column.dtype])


def _ints(values: list[int]) -> IntArray:
    return np.array(values, np.int64)
