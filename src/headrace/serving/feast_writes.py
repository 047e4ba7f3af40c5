"""`POST /push` and `POST /write-to-online-store`: rows of batch and push views, in Feast's format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.batch.write import push_rows
from headrace.errors import LookupRequestError
from headrace.extras import needing
from headrace.plan import BatchView, Plan
from headrace.serving.context import ServingContext
from headrace.serving.feast_errors import PUSH_SOURCE_NOT_FOUND, VIEW_NOT_FOUND, FeastRequestError
from headrace.serving.feast_request import Push, WriteToOnlineStore
from headrace.serving.feast_table import pushed_table, source_table
from headrace.serving.hot_route import Answer, Asked
from headrace.serving.identity import ALL, Permission

__all__ = ["push", "write_to_online_store"]

_TARGETS = {"online": (True, False), "offline": (False, True), "online_and_offline": (True, True)}
"""By what a push says: whether it writes online, and whether it writes offline."""


def push(context: ServingContext, asked: Asked[Push]) -> Answer:
    """Write rows to all views of a push source.

    All rows are checked first. Then they are written online, and then appended offline: if that fails, the same push
    may be sent again, because rows that are online already stay as they are.

    Args:
        context: What the routes share.
        asked: The request.

    Raises:
        FeastRequestError: There is no such push source.
        RowsError: The rows contradict a view.
        BatchSourceError: The source of a view cannot be written.
        PermissionDeniedError: The caller may not write one of the views.
    """
    body = asked.body
    if body.to not in _TARGETS:
        msg = f"`to` is {body.to!r}."
        raise LookupRequestError(msg, hint=f"It is one of: {', '.join(_TARGETS)}.")
    is_online, is_offline = _TARGETS[body.to]
    with context.using() as opened:
        plan = opened.client.plan
        views = [view for view in plan.batch_views.values() if view.push == body.push_source_name]
        # What is refused is told in the same words whether there is such a push source or not.
        if not all(asked.caller.has(Permission.WRITE, view=name) for name in [view.name for view in views] or [ALL]):
            raise asked.caller.denied(Permission.WRITE, f"all views of the push source {body.push_source_name!r}")
        if not views:
            raise _no_push_source(plan, body.push_source_name)
        rows = _row_count(context, body.df)
        if not rows:
            return Answer(b"", "text/plain")  # as in Feast, nothing is written and that is no error
        tables = [(view, pushed_table(view, body.df)) for view in views]
        appends = _appends(context.project.repo, views, body.df) if is_offline else []
        if is_online:
            for view, table in tables:
                push_rows(context.rows(), view, table)
        for append, table in appends:
            append(table)
    asked.access.update(rows=rows, asked=[view.name for view in views])
    return Answer(b"", "text/plain", rows=rows)


def write_to_online_store(context: ServingContext, asked: Asked[WriteToOnlineStore]) -> Answer:
    """Write rows of one view.

    Args:
        context: What the routes share.
        asked: The request.

    Raises:
        FeastRequestError: There is no such view.
        LookupRequestError: Its features are computed, so nothing can be written.
        RowsError: The rows contradict the view.
        PermissionDeniedError: The caller may not write the view.
    """
    name = asked.body.feature_view_name
    asked.caller.require(Permission.WRITE, views=[name])
    with context.using() as opened:
        view = _writable(opened.client.plan, name, asked.caller)
        rows = _row_count(context, asked.body.df)
        if rows:
            push_rows(context.rows(), view, pushed_table(view, asked.body.df))
    asked.access.update(rows=rows, asked=[name])
    return Answer(b"null", rows=rows)


def _appends(
    repo: Path, views: Sequence[BatchView], df: Mapping[str, list[Any]]
) -> list[tuple[Callable[[pa.Table], None], pa.Table]]:
    """What appends to the sources of views, each source once, and the rows; refused before anything is written."""
    with needing("offline"):
        from headrace.batch.append import append_rows, source_schema
    sources = {(view.source.kind, view.source.path): view.source for view in views}
    return [
        (partial(append_rows, source, repo), source_table(source, source_schema(source, repo), df))
        for source in sources.values()
    ]


def _row_count(context: ServingContext, df: Mapping[str, list[Any]]) -> int:
    rows = max(map(len, df.values()), default=0)
    context.limits.check(rows, len(df))
    return rows


def _writable(plan: Plan, name: str, caller: Any) -> BatchView:
    if name in plan.batch_views:
        return plan.batch_views[name]
    if name in plan.views:
        topic = plan.source_of(plan.views[name]).topic
        msg = f"{name!r} is a stream view: its features are computed from the events of the topic {topic!r}."
        raise LookupRequestError(msg, hint="Send events to the topic, for example with headrace.EventProducer.")
    if name in plan.on_demand_views:
        msg = f"{name!r} is an on-demand view: its features are computed when they are asked for."
        raise LookupRequestError(msg, hint="Write the views that it reads.")
    msg = f"There is no view named {name!r}."
    mine = [one for one in plan.batch_views if caller.has(Permission.WRITE, view=one)]
    hint = f"Views that take rows: {', '.join(mine) or 'none'}."
    raise FeastRequestError(VIEW_NOT_FOUND, 404, msg, hint=hint)


def _no_push_source(plan: Plan, name: str) -> FeastRequestError:
    known = sorted({view.push for view in plan.batch_views.values() if view.push is not None})
    hint = f"Push sources of this project: {', '.join(known) or 'none'}."
    msg = f"There is no push source named {name!r}."
    if name in plan.sources:
        topic = plan.sources[name].topic
        msg = f"{name!r} is no push source: stream views read it from the Kafka topic {topic!r}."
        hint = "Send events to the topic, for example with headrace.EventProducer."
    return FeastRequestError(PUSH_SOURCE_NOT_FOUND, 422, msg, hint=hint)
