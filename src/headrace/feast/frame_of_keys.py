"""History without an entity frame: every key at the times of its rows in a range, or all keys at one time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from headrace.batch.source_relation import key_name
from headrace.errors import SpineError
from headrace.feast.entity_frame import EVENT_TIME, EntityFrame
from headrace.feast.online_request import ttl_us_of
from headrace.feast.repo_project import computed_by_headrace
from headrace.feast.source_rows import SourceRows, batch_source_of, moment_us
from headrace.feast.stream_versions import stream_view_name
from headrace.history import AsOf
from headrace.training import FeatureJoins
from headrace.training.log_spine import LogRows, log_spine

if TYPE_CHECKING:
    from headrace.config import Project
    from headrace.feast.historical import HistoricalRequest, HistoricalView

__all__ = ["frame_of_keys"]

_UTC_US = pa.timestamp("us", "UTC")


def frame_of_keys(
    request: HistoricalRequest,
    project: Project,
    folder: Path,
    start: datetime | None,
    end: datetime | None,
    as_of: str,
) -> EntityFrame:
    """An entity frame made from what the views have.

    Args:
        request: What is asked for.
        project: The headrace project.
        folder: The repo's folder.
        start: The first event time; None gives all keys at `end`.
        end: The last event time; None is now. Times without a zone are UTC.
        as_of: For stream views: `known` or `event`.

    Returns:
        The join keys and `event_timestamp`, by time and then by key; each row once.

    Raises:
        SpineError: Views have different join keys, a view of files has none, or `start` is after `end`.
        HeadraceError: A log or a source cannot be read.
    """
    end_us = moment_us(end if end is not None else datetime.now(UTC))
    start_us = None if start is None else moment_us(start)
    if start_us is not None and start_us > end_us:
        msg = f"start_date {start} is after end_date {end}."
        raise SpineError(msg, hint="The range contains both its ends.")
    names = _keys_in_common(request)
    tables = [
        _of_log(asked, project, start_us, end_us, as_of)
        if computed_by_headrace(asked.view)
        else _of_rows(asked, folder, start_us, end_us)
        for asked in request.views.values()
    ]
    wanted = tables[0].schema if tables else pa.schema([(EVENT_TIME, _UTC_US)])
    rows = pa.concat_tables([table.select(wanted.names).cast(wanted) for table in tables] or [wanted.empty_table()])
    rows = rows.group_by(wanted.names).aggregate([])
    rows = rows.sort_by([(name, "ascending") for name in (EVENT_TIME, *names)]).select([*names, EVENT_TIME])
    return EntityFrame(rows.combine_chunks(), EVENT_TIME)


def _keys_in_common(request: HistoricalRequest) -> list[str]:
    """The columns of join keys, the same for all views."""
    if any(view.get_request_data_schema() for view in request.on_demand.values()):
        msg = "On-demand views with request data need an entity frame: it holds the data."
        raise SpineError(msg, hint="Give entity_df, with the fields of request data as columns.")
    keys = {asked.label: sorted(asked.keys.values()) for asked in request.views.values()}
    if len({tuple(names) for names in keys.values()}) > 1:
        each = "; ".join(f"{label} by {', '.join(names) or 'nothing'}" for label, names in keys.items())
        msg = f"Without an entity frame all views must have the same join keys: {each}."
        raise SpineError(msg, hint="Ask for views with the same keys at a time, or give entity_df.")
    return next(iter(keys.values()), [])


def _of_rows(asked: HistoricalView, folder: Path, start_us: int | None, end_us: int) -> pa.Table:
    """The keys of a view of files."""
    with SourceRows(batch_source_of(asked.view.batch_source), folder) as rows:
        rows.joinable("source", list(asked.keys), [])
        places = [key_name(place) for place in range(len(asked.keys))]
        picked = "".join(f"{place}, " for place in places)
        if start_us is None:
            ttl_us = ttl_us_of(asked.view)
            since = "" if ttl_us is None else f" AND ts >= {end_us - ttl_us}"
            sql = f"SELECT DISTINCT {picked}CAST({end_us} AS BIGINT) AS ts FROM source WHERE ts <= {end_us}{since}"  # noqa: S608
        else:
            sql = f"SELECT DISTINCT {picked}ts FROM source WHERE ts BETWEEN {start_us} AND {end_us}"  # noqa: S608
        found = rows.run(sql)
    columns = {name: found.column(place) for name, place in zip(asked.keys.values(), places, strict=True)}
    return pa.table({**columns, EVENT_TIME: found.column("ts").cast(_UTC_US)})


def _of_log(asked: HistoricalView, project: Project, start_us: int | None, end_us: int, as_of: str) -> pa.Table:
    """The keys of a stream view."""
    joins = FeatureJoins(project)
    name = stream_view_name(project, joins.plan, asked.view, asked.view.projection.version_tag)
    names = [f"{name}:{feature}" for feature in asked.features]
    plan = joins.plan_for(names)
    refs = plan.resolve(names)
    rows = LogRows(at_us=end_us) if start_us is None else LogRows(start_us=start_us, end_us=end_us + 1)
    found = log_spine(plan, refs, joins.snapshots(refs), rows, AsOf(as_of), EVENT_TIME)
    columns = {name: found.column(join_key) for join_key, name in asked.keys.items()}
    return pa.table({**columns, EVENT_TIME: found.column(EVENT_TIME)})
