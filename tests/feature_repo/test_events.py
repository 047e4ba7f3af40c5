"""The models of this repository's events take all of the published data, and nothing that cannot be."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ValidationError

from headrace.events.model_schema import columns_of, load_model

if TYPE_CHECKING:
    import pandas as pd

DEPARTURE: dict[str, Any] = {
    "origin": "EWR",
    "carrier": "UA",
    "flight": 1545,
    "tailnum": "N14228",
    "dest": "IAH",
    "scheduled_at": datetime(2013, 1, 1, 10, 15, tzinfo=UTC),
    "event_timestamp": datetime(2013, 1, 1, 10, 17, tzinfo=UTC),
    "dep_delay": 2.0,
    "distance": 1400,
    "cancelled": False,
}
CANCELLED = DEPARTURE | {"dep_delay": None, "cancelled": True, "event_timestamp": DEPARTURE["scheduled_at"]}
WEATHER: dict[str, Any] = {
    "origin": "JFK",
    "event_timestamp": datetime(2013, 1, 1, 6, tzinfo=UTC),
    "temp": 39.02,
    "dewp": 26.06,
    "humid": 59.37,
    "wind_dir": 270.0,
    "wind_speed": 10.36,
    "wind_gust": None,
    "precip": 0.0,
    "pressure": 1012.0,
    "visib": 10.0,
}


@pytest.fixture(scope="module")
def departure(root: Path) -> type[BaseModel]:
    return load_model(root / "feature_repo", "events:Departure")


@pytest.fixture(scope="module")
def observation(root: Path) -> type[BaseModel]:
    return load_model(root / "feature_repo", "events:WeatherObservation")


def or_none(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def test_departures_have_the_columns_that_features_are_made_from(departure: type[BaseModel]) -> None:
    assert [(column.name, column.dtype.value, column.nullable) for column in columns_of(departure)] == [
        ("origin", "string", False),
        ("carrier", "string", False),
        ("flight", "int64", False),
        ("tailnum", "string", True),
        ("dest", "string", False),
        ("scheduled_at", "timestamp", False),
        ("event_timestamp", "timestamp", False),
        ("dep_delay", "float64", True),
        ("distance", "int64", False),
        ("cancelled", "bool", False),
    ]


def test_observations_have_the_columns_that_features_are_made_from(observation: type[BaseModel]) -> None:
    assert [(column.name, column.dtype.value, column.nullable) for column in columns_of(observation)] == [
        ("origin", "string", False),
        ("event_timestamp", "timestamp", False),
        ("temp", "float64", True),
        ("dewp", "float64", True),
        ("humid", "float64", True),
        ("wind_dir", "float64", True),
        ("wind_speed", "float64", True),
        ("wind_gust", "float64", True),
        ("precip", "float64", False),
        ("pressure", "float64", True),
        ("visib", "float64", False),
    ]


@pytest.mark.parametrize("event", [DEPARTURE, CANCELLED, DEPARTURE | {"tailnum": None}])
def test_a_departure_survives_its_json(departure: type[BaseModel], event: dict[str, Any]) -> None:
    made = departure.model_validate(event)
    assert departure.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"origin": "BOS"}, "origin"),
        ({"origin": None}, "origin"),
        ({"carrier": "United"}, "carrier"),
        ({"carrier": "ua"}, "carrier"),
        ({"flight": 0}, "flight"),
        ({"flight": "many"}, "flight"),
        ({"tailnum": ""}, "tailnum"),
        ({"dest": "Houston"}, "dest"),
        ({"distance": 0}, "distance"),
        ({"distance": 20_000}, "distance"),
        ({"distance": 1400.5}, "distance"),
        ({"scheduled_at": datetime(2013, 1, 1, 10, 15)}, "scheduled_at"),  # noqa: DTZ001 (naive is the point)
        ({"dep_delay": math.nan}, "dep_delay"),
        ({"dep_delay": math.inf}, "dep_delay"),
        ({"dep_delay": -2000.0}, "dep_delay"),
        ({"dep_delay": None}, "a flight is cancelled exactly where it has no dep_delay"),
        ({"cancelled": True}, "a flight is cancelled exactly where it has no dep_delay"),
        ({"dep_delay": 3.0}, "event_timestamp is scheduled_at plus dep_delay minutes"),
        ({"event_timestamp": datetime(2013, 1, 1, 10, 18, tzinfo=UTC)}, "event_timestamp is scheduled_at plus"),
        ({"gate": "A1"}, "gate"),
    ],
)
def test_a_departure_that_cannot_be_is_refused(departure: type[BaseModel], change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        departure.model_validate(DEPARTURE | change)


def test_a_cancelled_flight_is_an_event_at_its_scheduled_time(departure: type[BaseModel]) -> None:
    late = CANCELLED["scheduled_at"] + timedelta(minutes=1)
    with pytest.raises(ValidationError, match="scheduled_at itself where cancelled"):
        departure.model_validate(CANCELLED | {"event_timestamp": late})


def test_a_departure_lacks_no_field(departure: type[BaseModel]) -> None:
    for field in DEPARTURE:
        with pytest.raises(ValidationError, match=field):
            departure.model_validate({name: value for name, value in DEPARTURE.items() if name != field})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"origin": "BOS"}, "origin"),
        ({"event_timestamp": datetime(2013, 1, 1, 6)}, "event_timestamp"),  # noqa: DTZ001 (naive is the point)
        ({"temp": 500}, "temp"),
        ({"humid": 101.0}, "humid"),
        ({"humid": -1.0}, "humid"),
        ({"wind_dir": 361.0}, "wind_dir"),
        ({"wind_speed": -1.0}, "wind_speed"),
        ({"wind_speed": math.nan}, "wind_speed"),
        ({"precip": -0.1}, "precip"),
        ({"precip": None}, "precip"),
        ({"visib": -1.0}, "visib"),
        ({"pressure": 1.0}, "pressure"),
        ({"sunshine": 1.0}, "sunshine"),
    ],
)
def test_weather_that_cannot_be_is_refused(observation: type[BaseModel], change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        observation.model_validate(WEATHER | change)


def test_the_published_reading_of_a_thousand_miles_per_hour_is_taken(
    observation: type[BaseModel], weather: pd.DataFrame
) -> None:
    assert weather.wind_speed.max() > 1048
    observation.model_validate(WEATHER | {"wind_speed": float(weather.wind_speed.max())})


def test_all_published_weather_is_taken(observation: type[BaseModel], weather: pd.DataFrame) -> None:
    fields = [name for name in observation.model_fields if name != "event_timestamp"]
    rows = weather[fields].to_dict("records")
    assert len(rows) == 26_115
    for row, hour in zip(rows, weather.time_hour, strict=True):
        values = {str(name): or_none(value) for name, value in row.items()}
        observation.model_validate({**values, "event_timestamp": hour})


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.long, id="all"), pytest.param(20, id="a_sample")])
def test_published_flights_are_taken(departure: type[BaseModel], flights: pd.DataFrame, every: int) -> None:
    assert len(flights) == 336_776
    fields = ["origin", "carrier", "flight", "tailnum", "dest", "dep_delay", "distance", "time_hour", "minute"]
    for row in flights[fields].iloc[::every].to_dict("records"):
        values = {str(name): or_none(value) for name, value in row.items()}
        scheduled = datetime.fromisoformat(str(values.pop("time_hour"))) + timedelta(minutes=int(row["minute"]))
        del values["minute"]
        delay = values["dep_delay"]
        left = scheduled if delay is None else scheduled + timedelta(minutes=row["dep_delay"])
        times = {"scheduled_at": scheduled, "event_timestamp": left}
        departure.model_validate({**values, **times, "cancelled": delay is None})
