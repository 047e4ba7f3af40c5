"""Proof of batch features in lookups: what was served is compared with the source's row of that entity and event time.

A lookup's record says which row was served: by its event time. If the source still has a row of that entity and time,
its values must be those that were served. The source can say nothing where the row is gone or was replaced, or where it
was pushed and never reached the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from headrace.batch.join import stored_keys, typed_column
from headrace.batch.source_relation import (
    SourceRelation,
    batch_connection,
    feature_name,
    key_name,
    source_errors,
    subject_of,
)
from headrace.errors import BatchSourceError
from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import BatchView, DType
from headrace.times import us_of

__all__ = ["Judged", "judge_rows"]

Record = Mapping[str, Any]


class Judged(NamedTuple):
    """What the source says of one view's part of a lookup.

    Attributes:
        values: By `view__feature`, what should have been served; None where the source cannot say.
        why: Why it cannot.
    """

    values: Mapping[str, Any] | None
    why: str | None = None


def judge_rows(
    view: BatchView, records: Sequence[Record], repo: Path | None, same: Callable[[Any, Any], bool]
) -> list[Judged]:
    """What the source says of one view's part of recorded lookups.

    Args:
        view: The view.
        records: The lookups, as `OnlineFeatures.records()` gives them. Some may not have asked for the view.
        repo: The feature repo's folder; None is the current one.
        same: Whether a recorded value and a recomputed one are equal.

    Returns:
        Per lookup.
    """
    counting = {number: ts for number, record in enumerate(records) if (ts := _counting_us(view, record)) is not None}
    away: str | None = None
    rows: dict[int, list[dict[str, Any]]] = {}
    try:
        rows = _source_rows(view, records, counting, repo or Path())
    except BatchSourceError as error:
        away = error.what
    nothing = dict.fromkeys(_columns(view))
    found = []
    for number, record in enumerate(records):
        if number not in counting:
            found.append(Judged(nothing))
        elif away is not None:
            found.append(Judged(None, away))
        else:
            found.append(_judged(view, record, rows.get(number, []), same))
    return found


def _judged(
    view: BatchView, record: Record, rows: Sequence[dict[str, Any]], same: Callable[[Any, Any], bool]
) -> Judged:
    asked = [column for column in _columns(view) if column in record["features"]]
    for row in rows:
        if all(same(record["features"][column], row[column]) for column in asked):
            return Judged(row)
    if not rows or view.push is not None:
        what = "the row was pushed, or the source" if view.push is not None else "the source"
        return Judged(None, f"{what} has no such row of {view.name!r} any more")
    served_us = record.get("served_at_us")
    if served_us is not None and any((row["created"] or served_us) > served_us for row in rows):
        return Judged(None, f"the source's row of {view.name!r} was written again since")
    return Judged(rows[-1])


def _counting_us(view: BatchView, record: Record) -> int | None:
    """The event time of the row that should have been served; None where none counted."""
    if not record["evidence"].get(view.name):
        return None
    newest = record.get("views", {}).get(view.name, {}).get("newest_event")
    if newest is None:
        return None
    event_us, at_us = us_of(datetime.fromisoformat(newest)), int(record["at_us"])
    oldest = event_us if view.ttl_us is None else at_us - view.ttl_us
    return event_us if oldest <= event_us <= at_us else None


def _source_rows(
    view: BatchView, records: Sequence[Record], counting: Mapping[int, int], repo: Path
) -> dict[int, list[dict[str, Any]]]:
    """Per lookup, the source's rows of its entity and event time, those that win last."""
    if not counting:
        return {}
    numbers = list(counting)
    columns = {"n": pa.array(numbers, pa.int64()), "ts": pa.array(list(counting.values()), pa.int64())}
    for place, entity in enumerate(view.entities):
        values = [records[number]["keys"][entity.name] for number in numbers]
        given = pa.chunked_array([pa.array(values, None if entity.dtype is DType.DATE else ARROW_TYPES[entity.dtype])])
        columns[key_name(place)] = stored_keys(given, entity.dtype)
    con = batch_connection(repo)
    try:
        source = SourceRelation(con, view, repo, "source")
        con.register("asked", pa.table(columns))
        names = [feature_name(place) for place in range(len(view.columns))]
        keys = [key_name(place) for place in range(len(view.entities))]
        with source_errors(subject_of(view)):
            found = con.sql(
                f"SELECT n, created, {', '.join(names)} FROM asked JOIN {source.name} "  # noqa: S608 names made here
                f"USING ({', '.join([*keys, 'ts'])}) ORDER BY n, created NULLS FIRST, tie"
            ).to_arrow_table()
    finally:
        con.close()
    typed = {"n": found.column("n"), "created": found.column("created")}
    for name, column, of_source in zip(_columns(view), view.columns, names, strict=True):
        typed[name] = typed_column(found.column(of_source), column.dtype)
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in pa.table(typed).to_pylist():
        rows.setdefault(row["n"], []).append(row)
    return rows


def _columns(view: BatchView) -> list[str]:
    return [f"{view.name}__{column.name}" for column in view.columns]
