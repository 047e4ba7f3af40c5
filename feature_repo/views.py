"""The features. `time_window` is how far back they look, `slide_interval` how finely that edge moves.

A short slide keeps the edge sharp; a long one keeps fewer tiles in the online store. Without a window, a feature looks
back over all of time.
"""

from __future__ import annotations

from datetime import timedelta

from entities import carrier, origin
from feast import Aggregation
from sources import departures, weather

from headrace import stream_view

EXACT = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
QUARTER = timedelta(minutes=15)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def _feature(
    name: str, function: str, column: str, window: timedelta | None = None, slide: timedelta | None = None
) -> Aggregation:
    return Aggregation(name=name, function=function, column=column, time_window=window, slide_interval=slide)


origin_departures = stream_view(
    name="origin_departures",
    source=departures,
    entities=[origin],
    aggregations=[
        _feature("departures_30m", "count", "*", HOUR / 2, EXACT),
        _feature("departures_1h", "count", "*", HOUR, MINUTE),
        _feature("mean_dep_delay_1h", "mean", "dep_delay", HOUR, MINUTE),
        _feature("max_dep_delay_1h", "max", "dep_delay", HOUR, MINUTE),
        _feature("departures_24h", "count", "*", DAY, QUARTER),
        _feature("mean_dep_delay_24h", "mean", "dep_delay", DAY, QUARTER),
        _feature("cancelled_share_24h", "mean", "cancelled", DAY, QUARTER),
    ],
    description="How busy and how late an airport is.",
)

carrier_departures = stream_view(
    name="carrier_departures",
    source=departures,
    entities=[carrier],
    aggregations=[
        _feature("departures_7d", "count", "*", 7 * DAY, HOUR),
        _feature("mean_dep_delay_7d", "mean", "dep_delay", 7 * DAY, HOUR),
        _feature("min_dep_delay_7d", "min", "dep_delay", 7 * DAY, HOUR),
    ],
    description="How busy and how late an airline is.",
)

origin_carrier_departures = stream_view(
    name="origin_carrier_departures",
    source=departures,
    entities=[origin, carrier],
    aggregations=[
        _feature("departures_24h", "count", "*", DAY, QUARTER),
        _feature("mean_dep_delay_24h", "mean", "dep_delay", DAY, QUARTER),
        _feature("distance_24h", "sum", "distance", DAY, QUARTER),
        _feature("last_dep_delay", "last", "dep_delay"),
    ],
    description="How an airline is doing at an airport.",
)

origin_weather = stream_view(
    name="origin_weather",
    source=weather,
    entities=[origin],
    aggregations=[
        _feature("last_temp", "last", "temp"),
        _feature("last_wind_speed", "last", "wind_speed"),
        _feature("last_visib", "last", "visib"),
        _feature("last_precip", "last", "precip"),
        _feature("max_wind_speed_6h", "max", "wind_speed", 6 * HOUR, HOUR),
    ],
    description="The weather at an airport.",
)
