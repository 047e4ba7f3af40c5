"""The reference deployment in a temporary state folder, driven by its commands; and its features by pandas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.commands import Commands

ROOT = Path(__file__).parents[2]


@dataclass
class Deployment(Commands):
    """A state folder and the environment that points commands at it.

    Args:
        state: The folder.
        settings: More settings, as in headrace.toml.
    """

    state: Path
    settings: dict[str, str]

    @property
    def variables(self) -> dict[str, str]:
        settings = {
            f"HEADRACE_{name.upper()}": value for name, value in {"state": str(self.state), **self.settings}.items()
        }
        return {"HEADRACE_PROJECT": str(ROOT), **settings}

    @property
    def folder(self) -> Path:
        return ROOT


class Oracle:
    """The features of the issue's table, by pandas over the events and when each was sent.

    Args:
        departures: Columns of the events, `ts` (event time) and `known` in µs.
        weather: The same of the observations.
    """

    def __init__(self, departures: pd.DataFrame, weather: pd.DataFrame) -> None:
        self.departures = departures
        self.weather = weather

    def features(self, origin: str, carrier: str, t: int, *, as_of: str = "known") -> dict[str, Any]:
        """All features of the service `delay_model` at `t`, in µs."""
        known = "known" if as_of == "known" else "ts"
        departures = self.departures[self.departures[known] <= t]
        of_origin = departures[departures["origin"] == origin]
        of_carrier = departures[departures["carrier"] == carrier]
        of_both = of_origin[of_origin["carrier"] == carrier]
        weather = self.weather[(self.weather[known] <= t) & (self.weather["origin"] == origin)]
        minute, hour, day = 60_000_000, 3_600_000_000, 86_400_000_000
        last_30m = window(of_origin, t, 30 * minute, 1)
        last_1h, last_24h = window(of_origin, t, hour, minute), window(of_origin, t, day, 15 * minute)
        last_7d, both_24h = window(of_carrier, t, 7 * day, hour), window(of_both, t, day, 15 * minute)
        wind = window(weather, t, 6 * hour, hour)["wind_speed"].max()
        return {
            "origin_departures__departures_30m": len(last_30m),
            "origin_departures__departures_1h": len(last_1h),
            "origin_departures__mean_dep_delay_1h": last_1h["dep_delay"].mean(),
            "origin_departures__max_dep_delay_1h": last_1h["dep_delay"].max(),
            "origin_departures__departures_24h": len(last_24h),
            "origin_departures__mean_dep_delay_24h": last_24h["dep_delay"].mean(),
            "origin_departures__cancelled_share_24h": last_24h["cancelled"].astype(float).mean(),
            "carrier_departures__departures_7d": len(last_7d),
            "carrier_departures__mean_dep_delay_7d": last_7d["dep_delay"].mean(),
            "carrier_departures__min_dep_delay_7d": last_7d["dep_delay"].min(),
            "origin_carrier_departures__departures_24h": len(both_24h),
            "origin_carrier_departures__mean_dep_delay_24h": both_24h["dep_delay"].mean(),
            "origin_carrier_departures__distance_24h": int(both_24h["distance"].sum()),
            "origin_carrier_departures__last_dep_delay": last(of_both, "dep_delay"),
            "origin_weather__last_temp": last(weather, "temp"),
            "origin_weather__last_wind_speed": last(weather, "wind_speed"),
            "origin_weather__last_visib": last(weather, "visib"),
            "origin_weather__last_precip": last(weather, "precip"),
            "origin_weather__max_wind_speed_6h": wind,
        }


def window(events: pd.DataFrame, t: int, length: int, slide: int) -> pd.DataFrame:
    """The events that a window of `length` and `slide` counts at `t`."""
    tile = events["ts"] // slide
    return events[(tile > t // slide - length // slide) & (tile <= t // slide)]


def last(events: pd.DataFrame, column: str) -> Any:
    """The newest value there is: by event time, then by position."""
    there = events[events[column].notna()]
    if there.empty:
        return None
    return there.sort_values(["ts", "partition", "offset"])[column].iloc[-1]


def assert_same(ours: dict[str, Any], theirs: dict[str, Any], where: object) -> None:
    """Every feature: counts exactly, doubles to 1e-9 relative, null as null."""
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        found = ours[name]
        if expected is None or (isinstance(expected, float) and np.isnan(expected)):
            assert found is None, (where, name, found, expected)
        elif isinstance(expected, int | np.integer):
            assert found == expected, (where, name, found, expected)
        else:
            assert found is not None, (where, name, found, expected)
            assert abs(found - expected) <= 1e-9 * max(1.0, abs(expected)), (where, name, found, expected)
