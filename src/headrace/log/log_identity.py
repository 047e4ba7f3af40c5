"""Which table a log is, and since when: one that was created again in its place has another id."""

from __future__ import annotations

from typing import NamedTuple

from headrace.errors import LogError
from headrace.log.delta import create_table, open_table
from headrace.log.location import Location, Place
from headrace.log.log_columns import table_schema
from headrace.plan import Source

__all__ = ["Made", "made_log", "make_log"]


class Made(NamedTuple):
    """A table's identity.

    Attributes:
        id: The table's id. A table that was created again in its place has another.
        at_us: When it was made by the wall clock, in µs; None where it does not say.
    """

    id: str
    at_us: int | None


def made_log(root: Place, source: Source) -> Made | None:
    """Which table a source's log is; None where there is none yet.

    Args:
        root: The place of all logs.
        source: The source.

    Raises:
        LogError: The table is damaged.
        LogUnavailableError: It cannot be read.
    """
    table = open_table(Location.of(root).below(source.topic))
    if table is None:
        return None
    metadata = table.metadata()
    made_ms: int | None = metadata.created_time  # Delta's format leaves it to the writer
    return Made(str(metadata.id), None if made_ms is None else made_ms * 1000)


def make_log(root: Place, source: Source) -> Made:
    """Make a source's log, unless it is there.

    Args:
        root: The place of all logs.
        source: The source.

    Returns:
        Which table it is.

    Raises:
        LogError: Something else is at the place.
        LogUnavailableError: The place cannot be written.
    """
    create_table(Location.of(root).below(source.topic), table_schema(source))
    made = made_log(root, source)
    if made is None:  # create_table raises where it cannot make one
        msg = f"The log of {source.topic!r} is gone again just after it was made."
        raise LogError(msg)
    return made
