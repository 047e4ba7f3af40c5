"""The events: what the topics hold, and what a value must be to get in. An event that fails becomes a dead letter."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

Origin = Literal["EWR", "JFK", "LGA"]
"""The airports of New York City."""

Carrier = Annotated[str, Field(pattern=r"^[A-Z0-9]{2}$")]
"""A two-character IATA airline code, such as UA or 9E."""

Airport = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""A three-letter IATA airport code."""


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Departure(_Event):
    """A flight left, or was cancelled.

    Attributes:
        origin: Where it left from.
        carrier: Its airline.
        flight: Its number.
        tailnum: The aircraft, where one was assigned.
        dest: Where it went.
        scheduled_at: When it should have left.
        event_timestamp: When it left; for a cancelled flight, when it should have.
        dep_delay: Minutes late, negative where early; None for a cancelled flight.
        distance: Miles to its destination.
        cancelled: Whether it was cancelled.
    """

    origin: Origin
    carrier: Carrier
    flight: Annotated[int, Field(gt=0, lt=10_000)]
    tailnum: Annotated[str, Field(pattern=r"^[A-Z0-9]{2,6}$")] | None
    dest: Airport
    scheduled_at: AwareDatetime
    event_timestamp: AwareDatetime
    dep_delay: Annotated[float, Field(ge=-24 * 60, le=7 * 24 * 60)] | None
    distance: Annotated[int, Field(gt=0, lt=12_500)]  # no two points of the Earth are further apart
    cancelled: bool

    @model_validator(mode="after")
    def _times_agree(self) -> Self:
        if self.cancelled != (self.dep_delay is None):
            msg = "a flight is cancelled exactly where it has no dep_delay"
            raise ValueError(msg)
        # One subtraction asks for each zone's offset once: this runs for every event.
        if abs((self.event_timestamp - self.scheduled_at).total_seconds() - 60 * (self.dep_delay or 0)) >= 1e-6:
            msg = "event_timestamp is scheduled_at plus dep_delay minutes (scheduled_at itself where cancelled)"
            raise ValueError(msg)
        return self


class WeatherObservation(_Event):
    """An hour's weather at an airport.

    Every published row passes, so that anyone can check the numbers. That is why `wind_speed` has no upper bound: the
    reading of 1,048.36 mph at Newark on 2013-02-12 stands in the published data, and features show what was published.

    Attributes:
        origin: The airport.
        event_timestamp: The hour.
        temp: Degrees Fahrenheit.
        dewp: Dew point in degrees Fahrenheit.
        humid: Relative humidity in percent.
        wind_dir: Degrees that the wind blows from.
        wind_speed: Miles per hour.
        wind_gust: Miles per hour.
        precip: Inches.
        pressure: Sea level pressure in millibars.
        visib: Visibility in miles.
    """

    origin: Origin
    event_timestamp: AwareDatetime
    temp: Annotated[float, Field(ge=-80, le=140)] | None
    dewp: Annotated[float, Field(ge=-80, le=140)] | None
    humid: Annotated[float, Field(ge=0, le=100)] | None
    wind_dir: Annotated[float, Field(ge=0, le=360)] | None
    wind_speed: Annotated[float, Field(ge=0)] | None
    wind_gust: Annotated[float, Field(ge=0)] | None
    precip: Annotated[float, Field(ge=0)]
    pressure: Annotated[float, Field(ge=850, le=1100)] | None
    visib: Annotated[float, Field(ge=0)]
