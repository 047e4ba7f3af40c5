"""Times as databases and spreadsheets write them, converted for a model of events: ISO 8601 in UTC.

A time with one meaning is read: `2026-01-05 10:00:00+00`, `2026-01-05T10:00:00,5 UTC`, timestamps of any unit. A time
with two possible meanings is read where the user says which, by a zone or by the unit of epoch numbers. Otherwise it is
not changed, and the model refuses it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.events.columns import IntArray
from headrace.times import datetime_of, us_of

__all__ = ["EPOCH_UNITS", "TimeReader"]

EPOCH_UNITS = ("s", "ms", "us", "ns")
_PER_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_FIRST_US = us_of(datetime(1, 1, 2, tzinfo=UTC))
_LAST_US = us_of(datetime(9999, 12, 30, tzinfo=UTC))
_PLAIN = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d+)?\s*")
_WRITTEN = re.compile(
    r"\s*(\d{4})([-/])(\d\d)\2(\d\d)(?:(?:[Tt]|\s+)(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?"
    r"\s*(?:([Zz]|UTC|utc|GMT)|([+-])(\d\d)(?::?(\d\d))?(?::?(\d\d))?)?\s*"
)
_DAYS = "it reads as a date (YYYYMMDD) and as seconds since 1970: say --epoch s, or read dates by a query with strptime"
_TWICE = "it is in the hour that the clocks of the zone show twice"
_NEVER = "it is in the hour that the clocks of the zone skip"


class TimeReader:
    """Reads columns of times.

    Args:
        zone: The zone of times that are written without one; None leaves those to the model, which refuses them.
        unit: The unit of numbers since 1970, one of `EPOCH_UNITS`; None leaves numbers to the model, which takes
            seconds and milliseconds.
    """

    def __init__(self, zone: tzinfo | None = None, unit: str | None = None) -> None:
        self._zone = zone
        self._unit = unit

    def read(self, column: pa.ChunkedArray) -> tuple[list[Any], dict[int, str]]:
        """The times of a column, for a model.

        Args:
            column: The column.

        Returns:
            One value per row: a datetime, the original value where it is not read here, or None. And by row, why a
            value is no time.
        """
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
            kind = column.type
        if pa.types.is_timestamp(kind):
            return self._stamps(column)
        if pa.types.is_date(kind):
            return self._stamps(column.cast(pa.timestamp("ms"))) if self._zone is not None else (column.to_pylist(), {})
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        if is_text and pc.all(pc.match_substring_regex(column.cast(pa.string()), _PLAIN), min_count=0).as_py():
            return column.to_pylist(), {}
        values, why = column.to_pylist(), dict[int, str]()
        for row, value in enumerate(values):
            if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
                try:
                    values[row] = self._text(value) if isinstance(value, str) else self._number(value)
                except (ValueError, OverflowError) as error:
                    why[row] = f"{value!r} is no time: {error}"
        return values, why

    def _stamps(self, column: pa.ChunkedArray) -> tuple[list[Any], dict[int, str]]:
        ticks = column.combine_chunks().cast(pa.int64())
        valid = ticks.is_valid().to_numpy(zero_copy_only=False)
        counted: IntArray = ticks.fill_null(0).to_numpy()
        factor = _PER_US.get(column.type.unit)
        fits = (counted >= _FIRST_US // (factor or 1)) & (counted <= _LAST_US // (factor or 1))
        us = counted // 1_000 if factor is None else np.where(fits, counted, 0) * factor
        if factor is None:
            fits[:] = True
        why = {
            int(row): f"{counted[row]} {column.type.unit} since 1970 is no time on the calendar"
            for row in np.flatnonzero(valid & ~fits)
        }
        rows = zip(us.tolist(), (valid & fits).tolist(), strict=True)
        if column.type.tz is not None:
            return [datetime_of(one) if is_time else None for one, is_time in rows], why
        values: list[Any] = []
        for row, (one, is_time) in enumerate(rows):
            try:
                values.append(self._placed(datetime_of(one).replace(tzinfo=None)) if is_time else None)
            except ValueError as error:
                why[row] = f"{datetime_of(one).replace(tzinfo=None)} is no time: {error}"
                values.append(None)
        return values, why

    def _text(self, text: str) -> Any:
        if _NUMBER.fullmatch(text):
            return self._number(Decimal(text), text)
        found = _WRITTEN.fullmatch(text)
        if found is None:
            return text
        year, _, month, day, hour, minute, second, part, is_utc, sign, hours, minutes, seconds = found.groups()
        parts = (int(one or 0) for one in (year, month, day, hour, minute, second))
        at = datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001
        at += timedelta(microseconds=int(f"{part or 0:0<6}"[:6]))
        if is_utc:
            return at.replace(tzinfo=UTC)
        if sign:
            past = timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
            return at.replace(tzinfo=timezone(past if sign == "+" else -past))
        placed = self._placed(at)
        return text if placed.tzinfo is None else placed

    def _number(self, value: float | Decimal, text: str | None = None) -> Any:
        as_given = value if text is None else text
        if self._unit is None:
            if value == int(value) and len(str(int(value))) == 8 and _is_date(str(int(value))):
                raise ValueError(_DAYS)
            return int(value) if isinstance(value, Decimal) and text is None and value == int(value) else as_given
        exact = Decimal(value)
        us = int(exact // 1_000) if self._unit == "ns" else round(exact * _PER_US[self._unit])
        if not _FIRST_US <= us <= _LAST_US:
            msg = f"{as_given} {self._unit} since 1970 is not on the calendar"
            raise ValueError(msg)
        return datetime_of(us)

    def _placed(self, at: datetime) -> datetime:
        """A time without a zone, in the given zone."""
        if self._zone is None:
            return at
        first, second = (at.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() != second.utcoffset():
            back = first.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None)
            raise ValueError(_TWICE if back == at else _NEVER)
        return first.astimezone(UTC)


def _is_date(digits: str) -> bool:
    try:
        found = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return 1900 <= found.year <= 2100
