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
from headrace.plan import DType, Source
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
        # A record without a value is refused by pydantic like any other malformed one.
        self._validate: Callable[[Any], BaseModel] = model.__pydantic_validator__.validate_json
        self._checked = [column for column in source.columns if column.dtype in (DType.TIMESTAMP, DType.INT64)]
        self._table([])  # the first conversion makes Arrow import pandas where it is installed: not in the first fetch

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
        validate = self._validate
        for record in records:
            try:
                rows.append(validate(record.value).__dict__)
                good.append(record)
            except ValidationError as error:
                dead.append(self._dead(record, *_first_failure(error)))
            except Exception as error:  # noqa: BLE001 a validator of the user's own broke; one event must not stop the partition
                dead.append(self._dead(record, f"The model's validation raised {type(error).__name__}: {error}", None))
        good, rows = self._representable(good, rows, dead)
        batch = self._batch(good, rows, known_us)
        future = batch.ts_us > batch.record_ts_us + self._source.max_future_us
        if future.any():
            for row in np.flatnonzero(future).tolist():
                dead.append(self._dead(good[row], self._too_far(batch, row), self._source.timestamp_field))
            keep = np.flatnonzero(~future).tolist()
            batch = self._batch([good[row] for row in keep], [rows[row] for row in keep], known_us)
        return batch, dead

    def _representable(
        self, records: list[RawRecord], rows: list[dict[str, Any]], dead: list[DeadLetter]
    ) -> tuple[list[RawRecord], list[dict[str, Any]]]:
        """Take out what the model accepts and the columns cannot hold: times without a zone, integers beyond 64 bits."""
        failures: dict[int, tuple[str, str]] = {}
        for column in self._checked:
            name = column.name
            if column.dtype is DType.TIMESTAMP:
                wrong = [n for n, row in enumerate(rows) if (value := row[name]) is not None and value.tzinfo is None]
            else:
                wrong = [
                    n
                    for n, row in enumerate(rows)
                    if (value := row[name]) is not None and not _LEAST <= value <= _GREATEST
                ]
            for n in wrong:
                value = rows[n][name]
                naive = column.dtype is DType.TIMESTAMP
                reason = (
                    f"{value.isoformat()} has no time zone; send UTC, such as {value.isoformat()}Z"
                    if naive
                    else f"{value} does not fit 64 bits"
                )
                failures.setdefault(n, (reason, name))
        if not failures:
            return records, rows
        dead += [self._dead(records[n], *why) for n, why in sorted(failures.items())]
        keep = [n for n in range(len(rows)) if n not in failures]
        return [records[n] for n in keep], [rows[n] for n in keep]

    def _table(self, rows: list[dict[str, Any]]) -> pa.Table:
        return pa.table(
            {
                column.name: pa.array([row[column.name] for row in rows], type=ARROW_TYPES[column.dtype])
                for column in self._source.columns
            }
        )

    def _batch(self, records: list[RawRecord], rows: list[dict[str, Any]], known_us: int | None) -> EventBatch:
        table = self._table(rows)
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


def _first_failure(error: ValidationError) -> tuple[str, str | None]:
    failures = error.errors(include_url=False, include_context=False)
    first = failures[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    shown = repr(first.get("input"))
    shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"{first['msg']}; got {shown}{more}", field


def _ints(values: list[int]) -> IntArray:
    return np.array(values, np.int64)
