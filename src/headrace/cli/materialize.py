"""`headrace materialize`: rows of batch views, from their sources to the online store."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.output import AsJson, Folder, command, console, note, print_json, table
from headrace.config import Project
from headrace.errors import LookupRequestError
from headrace.plan import BatchView, Plan, read_plan
from headrace.times import iso_time, us_of

if TYPE_CHECKING:
    from headrace.batch.materialize import Materialized

__all__ = ["materialize"]


@command
def materialize(
    views: Annotated[
        list[str] | None,
        typer.Argument(help="Batch views; all that are online if left out.", show_default=False),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="The first event time to read, such as 2026-01-31T12:00Z.", show_default=False),
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="The last event time to read; now if left out.", show_default=False)
    ] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Go on from a day before the end of the last run, for each view.")
    ] = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Write the newest row of each entity of batch views to the online store, from files, tables and queries."""
    from headrace.batch.materialize import materialize_views

    if incremental and start is not None:
        msg = "--incremental goes on from the end of the last run, and --start names another beginning."
        raise LookupRequestError(msg, hint="Give one of them.")
    project = Project.load(folder)
    plan = read_plan(project.plan_file)
    chosen = _chosen(plan, views or [])
    start_us, end_us = _time("--start", start), _time("--end", end)
    with console.status("Materializing …") as status:

        def progress(view: BatchView, entities: int) -> None:
            status.update(f"Materializing {view.name}: {entities:,} entities")

        done = materialize_views(
            project,
            chosen,
            start_us=start_us,
            end_us=time.time_ns() // 1000 if end_us is None else end_us,
            incremental=incremental,
            progress=progress,
        )
    if as_json:
        print_json({"views": [_as_json(one) for one in done]})
        return
    rows = [[one.view, iso_time(one.start_us), iso_time(one.end_us), one.entities, one.changed] for one in done]
    table("Materialized", ["view", "from", "until", "entities", "written"], rows, numbers=["entities", "written"])
    for one in done:
        if one.left_out:
            rows_word = "row lacks" if one.left_out == 1 else "rows lack"
            note(f"{one.view}: {one.left_out:,} {rows_word} a join key or an event time, and cannot be looked up")


def _chosen(plan: Plan, names: list[str]) -> list[BatchView]:
    known = ", ".join(plan.batch_views) or "none"
    for name in names:
        if name in plan.views:
            msg = f"{name!r} is a stream view: `headrace stream` keeps its features fresh."
            raise LookupRequestError(msg, hint=f"Batch views: {known}.")
        if name not in plan.batch_views:
            msg = f"There is no batch view named {name!r}."
            raise LookupRequestError(msg, hint=f"Batch views: {known}.")
    chosen = [plan.batch_views[name] for name in dict.fromkeys(names)]
    chosen = chosen or [view for view in plan.batch_views.values() if view.online]
    if not chosen:
        msg = "The plan has no batch view to materialize."
        hint = "Declare a FeatureView over a FileSource or a headrace.query_source, and run `headrace apply`."
        raise LookupRequestError(msg, hint=hint)
    return chosen


def _time(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{option} {text} is not a time."
        raise LookupRequestError(msg, hint="Write it as 2026-01-31T12:00Z.") from None
    if found.tzinfo is None:
        msg = f"{option} {text} has no time zone."
        raise LookupRequestError(msg, hint=f"If it is UTC, write {text}{'' if 'T' in text else 'T00:00'}Z.")
    return us_of(found)


def _as_json(done: Materialized) -> dict[str, Any]:
    return {
        "view": done.view,
        "start": iso_time(done.start_us),
        "end": iso_time(done.end_us),
        "entities": done.entities,
        "written": done.changed,
        "left_out": done.left_out,
    }
