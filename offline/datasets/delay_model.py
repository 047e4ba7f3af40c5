"""Will this flight arrive more than half an hour late? Asked an hour before its scheduled departure."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from headrace import Dataset, Project
from streams.flights import flights_table

__all__ = ["dataset", "spine"]

_HOUR_US = 3_600_000_000
_LATE_MINUTES = 30


def spine(_: Project) -> pa.Table:
    """One row per flight that arrived, an hour before it was to depart, with the label.

    Returns:
        327,346 rows: origin, carrier, flight, dest, event_timestamp, and `late`: whether it came over 30 minutes late.
    """
    flights = flights_table()
    arrived = flights.filter(pc.is_valid(flights["arr_delay"]))  # a flight that never arrived has no label
    columns = {name: arrived[name] for name in ("origin", "carrier", "flight", "dest")}
    columns["event_timestamp"] = pc.subtract(arrived["scheduled_at"], pa.scalar(_HOUR_US, pa.duration("us")))
    columns["late"] = pc.greater(arrived["arr_delay"], _LATE_MINUTES)
    return pa.table(columns)


dataset = Dataset(
    name="delay_model",
    features="delay_model",
    spine=spine,
    label="late",
    splits={
        "train": datetime(2013, 10, 1, tzinfo=UTC),
        "validation": datetime(2013, 11, 16, tzinfo=UTC),
        "test": None,
    },
)
