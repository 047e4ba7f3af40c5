"""Timelines drawn in ASCII, read: a column is a microsecond.

tiles   |    |    |    |        where tiles begin; the column of 0 is told by `zero`
events    a   b      c          an event per letter, at its event time
ab            ^                 a lookup at that time counts events a and b
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeline:
    """A picture that has been read.

    Attributes:
        tiles: Where tiles begin.
        events: Event times by letter.
        lookups: The time of each lookup, and the letters that it counts.
    """

    tiles: list[int]
    events: dict[str, int]
    lookups: list[tuple[int, str]]


def read(picture: str) -> Timeline:
    """Read a picture."""
    lines = [line for line in picture.splitlines() if line.strip()]
    rows = [(line.split(maxsplit=1)[0], line) for line in lines]
    zero = next((line.index("0") for name, line in rows if name == "zero"), None)
    if zero is None:
        zero = next(line.index("|") for name, line in rows if name == "tiles")

    def marks(line: str, name: str) -> dict[int, str]:
        start = line.index(name) + len(name)
        return {column - zero: mark for column, mark in enumerate(line) if column >= start and not mark.isspace()}

    tiles = [time for name, line in rows if name == "tiles" for time in marks(line, name)]
    events = {mark: time for name, line in rows if name == "events" for time, mark in marks(line, name).items()}
    lookups = [
        (time, "" if name == "none" else name)
        for name, line in rows
        if name not in ("zero", "tiles", "events")
        for time, mark in marks(line, name).items()
        if mark == "^"
    ]
    assert len(lookups) == sum("^" in line for line in lines)
    return Timeline(tiles, events, lookups)
