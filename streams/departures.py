"""Producer of the topic `departures`: `python -m streams.departures --help`."""

from __future__ import annotations

import pyarrow as pa

from headrace.produce.command import main
from streams.flights import departures_table

__all__ = ["history"]


def history() -> pa.Table:
    """Every departure from New York in 2013."""
    return departures_table()


if __name__ == "__main__":
    main("departures")
