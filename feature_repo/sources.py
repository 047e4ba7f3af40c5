"""The Kafka topics that features are made from."""

from __future__ import annotations

from events import Departure, WeatherObservation

from headrace import event_source

departures = event_source(
    name="departures",
    model=Departure,
    topic="departures",
    key="origin",
    timestamp_field="event_timestamp",
    description="Flights leaving New York City, each at the time it left (or was to leave, where cancelled).",
)

weather = event_source(
    name="weather",
    model=WeatherObservation,
    topic="weather",
    key="origin",
    timestamp_field="event_timestamp",
    description="Hourly weather at the airports of New York City.",
)
