"""History without a spine: the log gives its rows, all entities at one time or each at the times of its events."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from headrace.errors import SpineError
from headrace.events.event_batch import ARROW_TYPES
from headrace.history import AsOf
from headrace.history.log_entities import entities_at, entity_times
from headrace.log import LogSnapshot
from headrace.log.log_columns import TS
from headrace.plan import Column, FeatureRef, Plan, View
from headrace.times import us_of
from headrace.training.spine_input import Spine

__all__ = ["LogRows", "asked_rows", "log_spine", "time_us"]

_MOMENT = pa.timestamp("us", "UTC")
_HINT = "Give a spine; or at=, for all entities at one time; or start= and end=, for each at the times of its events."


@dataclass(frozen=True)
class LogRows:
    """Which rows to make from the log.

    Attributes:
        at_us: All entities at this time, in µs; None where each is wanted at the times of its events.
        start_us: From this event time on, in µs; None is the beginning.
        end_us: Before this event time, in µs; None is the end.
    """

    at_us: int | None = None
    start_us: int | None = None
    end_us: int | None = None


def asked_rows(
    spine: Spine | None, *, at: datetime | None, start: datetime | None, end: datetime | None
) -> Spine | LogRows:
    """Which rows a request wants: those of its spine, or some that the log gives.

    Args:
        spine: The spine.
        at: All entities at this time.
        start: Each entity at the times of its events, from this one on.
        end: Before this time.

    Raises:
        SpineError: The request names several of these or none, or a time has no time zone.
    """
    ways = [spine is not None, at is not None, start is not None or end is not None]
    if sum(ways) != 1:
        several = "A spine, at= and a range are different ways to say which rows are wanted; give one."
        raise SpineError(several if any(ways) else "The request does not say which rows are wanted.", hint=_HINT)
    if spine is not None:
        return spine
    rows = LogRows(time_us("at", at), time_us("start", start), time_us("end", end))
    if rows.start_us is not None and rows.end_us is not None and rows.start_us >= rows.end_us:
        msg = f"start={start} is not before end={end}."
        raise SpineError(msg, hint="The range contains its start and not its end.")
    return rows


def time_us(name: str, moment: datetime | None) -> int | None:
    """A time of a request in µs; None stays None.

    Args:
        name: The argument's name.
        moment: The time.

    Raises:
        SpineError: It is no time, or has no time zone.
    """
    if moment is None:
        return None
    try:
        return us_of(moment)
    except TypeError as error:
        msg = f"{name}={moment} is no datetime with a time zone."
        raise SpineError(msg, hint=f"Write {name}=datetime(2026, 1, 1, tzinfo=UTC).") from error


def log_spine(
    plan: Plan,
    refs: Sequence[FeatureRef],
    logs: Mapping[str, LogSnapshot],
    rows: LogRows,
    as_of: AsOf,
    time_column: str,
    known_until_us: int | None = None,
) -> pa.Table:
    """The rows of history without a spine.

    The entities are those of the views whose keys are all the keys that the features have. Views with fewer keys are
    joined to them.

    Args:
        plan: The plan.
        refs: The features.
        logs: By topic, the version of its log to read.
        rows: Which rows.
        as_of: What makes an event count.
        time_column: The name of the column of times.
        known_until_us: Events that became known later are not seen, in µs; None sees all.

    Returns:
        The join keys and the times, by time and then by key; each row once.

    Raises:
        SpineError: No view has all the keys.
        LogError: The log does not read.
    """
    keys, views = _entities(plan, refs)
    names = [key.name for key in keys]
    if time_column in names:
        msg = f"The column of times cannot be called {time_column!r}: that is a join key."
        raise SpineError(msg, hint="Give another time_column.")
    threads = os.cpu_count() or 1
    schema = pa.schema([(key.name, ARROW_TYPES[key.dtype]) for key in keys] + [(TS, pa.int64())])
    found = [schema.empty_table()]
    for view in {(view.source, view.entities): view for view in views}.values():
        source = plan.source_of(view)
        log, read = logs[source.topic], view.as_read(source)
        if rows.at_us is None:
            table = entity_times(log, read, names, rows.start_us, rows.end_us, known_until_us, threads=threads)
        else:
            table = entities_at(log, read, names, rows.at_us, as_of, known_until_us, threads=threads)
            table = table.append_column(TS, pa.array([rows.at_us] * table.num_rows, pa.int64()))
        found.append(table.select(schema.names).cast(schema))
    spine = pa.concat_tables(found).group_by(schema.names).aggregate([])
    spine = spine.sort_by([(name, "ascending") for name in (TS, *names)]).combine_chunks()
    times = spine.column(TS).cast(_MOMENT)
    return spine.drop_columns(TS).append_column(time_column, times)


def _entities(plan: Plan, refs: Sequence[FeatureRef]) -> tuple[list[Column], list[View]]:
    """All keys of the features, and the views that have all of them."""
    views = [plan.views[name] for name in dict.fromkeys(ref.view for ref in plan.stored(refs))]
    keys = {key.name: key for view in views for key in view.entities}
    whole = [view for view in views if len(view.entities) == len(keys)]
    if not whole or any(key.dtype is not keys[key.name].dtype for view in views for key in view.entities):
        each = "; ".join(f"{view.name} by {', '.join(view.join_keys)}" for view in views)
        msg = f"The features have no entities in common: {each}."
        raise SpineError(msg, hint="Ask for views with the same keys at a time, or give a spine.")
    return list(keys.values()), whole
