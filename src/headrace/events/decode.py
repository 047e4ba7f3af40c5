"""From the records of a fetch to events and dead letters.

The source's format (`events.formats`) reads the records. What holds for all formats is checked here: the records'
timestamps, and that no event is too far in the future.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from headrace.errors import PlanError
from headrace.events.dead_letter import DeadLetter
from headrace.events.decode_hints import record_time_hint, time_hint
from headrace.events.event_batch import EventBatch
from headrace.events.formats import FORMATS
from headrace.events.formats.base import Failure, Format
from headrace.events.raw_records import RawRecords
from headrace.events.row_columns import FIRST_US, LAST_US
from headrace.plan import Source
from headrace.times import iso_time

__all__ = ["EventDecoder"]

_FIRST_MS, _LAST_MS = FIRST_US // 1000, LAST_US // 1000


class EventDecoder:
    """Turns the records of one source into a batch of events and dead letters.

    Args:
        source: The source.
        model: Its pydantic model.
        reader: What reads the records; None takes the format that the source names.

    Raises:
        PlanError: This version of headrace does not know the source's format.
    """

    def __init__(self, source: Source, model: type[BaseModel], reader: Format | None = None) -> None:
        self._source = source
        if reader is None and source.format not in FORMATS:
            known = ", ".join(FORMATS)
            msg = f"The source {source.name!r} has the format {source.format!r}; this headrace reads {known}."
            raise PlanError(
                msg, hint="Install the version of headrace that applied this plan, or run `headrace apply`."
            )
        self._format = FORMATS[source.format](source, model) if reader is None else reader

    @property
    def calls_no_user_code(self) -> bool:
        """Whether decoding calls none of the model author's functions: then a fetch may be decoded early, or twice."""
        return self._format.calls_no_user_code

    def decode(self, records: RawRecords, known_us: int | None = None) -> tuple[EventBatch, list[DeadLetter]]:
        """Validate records and lay out the good ones as columns.

        Args:
            records: Records of this source's topic, those of each partition in offset order.
            known_us: The `known_at` to note for now, in µs; None takes each record's own timestamp, as under the record
                clock.

        Returns:
            The events of the good records, in order, and a dead letter for each other record.
        """
        dead: list[DeadLetter] = []
        records = self._dated(records, dead)
        decoded = self._format.read(records)
        dead += self._letters(records, decoded.failures)
        if decoded.failures:
            failed = {failure.row for failure in decoded.failures}
            records = records.take([row for row in range(len(records)) if row not in failed])
        batch = self._batch(records, decoded.table, known_us)
        future = batch.ts_us > batch.record_ts_us + self._source.max_future_us
        if future.any():
            dead += self._letters(
                records, (self._too_far(batch, records, row) for row in np.flatnonzero(future).tolist())
            )
            batch = batch.where(~future)
        return batch, dead

    def _dated(self, records: RawRecords, dead: list[DeadLetter]) -> RawRecords:
        """The records whose own timestamps are on the calendar.

        The others could not be shown, and do not fit in microseconds.
        """
        times = records.timestamps
        if not len(times) or (times.min() >= _FIRST_MS and times.max() <= _LAST_MS):
            return records
        on_calendar = (times >= _FIRST_MS) & (times <= _LAST_MS)
        why = "The record's timestamp, {} ms since 1970, is no time on the calendar. Kafka takes milliseconds."
        off = np.flatnonzero(~on_calendar).tolist()
        dead += self._letters(records, (Failure(row, why.format(int(times[row])), None) for row in off))
        return records.take(np.flatnonzero(on_calendar).tolist())

    def _batch(self, records: RawRecords, table: pa.Table, known_us: int | None) -> EventBatch:
        ts = table.column(self._source.timestamp_field).combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False)
        record_ts = records.timestamps * 1000
        known = record_ts if known_us is None else np.full(len(records), known_us, np.int64)
        return EventBatch(self._source, table, ts, records.partitions, records.offsets, record_ts, known)

    def _too_far(self, batch: EventBatch, records: RawRecords, row: int) -> Failure:
        field = self._source.timestamp_field
        event, record = (iso_time(int(us)) for us in (batch.ts_us[row], batch.record_ts_us[row]))
        allowed = self._source.max_future_us / 1e6
        why = f"{event} is more than {allowed:g} s past the record's timestamp, {record} (max_future of the source)."
        hint = record_time_hint(int(records.timestamps[row]), int(batch.ts_us[row])) or time_hint(
            self._format.written(records, row, field), int(batch.record_ts_us[row])
        )
        return Failure(row, why if hint is None else f"{why} {hint}.", field)

    def _letters(self, records: RawRecords, failures: Iterable[Failure]) -> list[DeadLetter]:
        return [
            DeadLetter(
                topic=self._source.topic,
                partition=int(records.partitions[row]),
                offset=int(records.offsets[row]),
                reason=reason,
                field=field,
                model=self._source.model,
                key=records.keys[row],
                value=records.values[row],
                headers=() if records.headers is None else tuple(records.headers[row]),
                recorded_at_ms=int(records.timestamps[row]),
            )
            for row, reason, field in failures
        ]
