"""Producer of the topic `weather`: `python -m streams.weather --help`."""

from __future__ import annotations

import pyarrow as pa

from headrace.produce.command import main
from streams.flights import weather_table

__all__ = ["history"]


def history() -> pa.Table:
    """Every hourly weather observation at New York's airports in 2013."""
    return weather_table()


if __name__ == "__main__":
    main("weather")
