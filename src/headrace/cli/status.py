"""`headrace status`: how far each source partition is, and whether a worker runs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from headrace.cli.health import print_workers
from headrace.cli.output import AWAY, AsJson, Folder, command, console, errors, note, print_json, table
from headrace.cli.project_status import project_status
from headrace.config import Project
from headrace.worker.heartbeat import read_heartbeats

__all__ = ["status"]

_WATCH_S = 2.0


@command
def status(
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C; with --json, a line each.")
    ] = False,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Show how far each source partition is, and whether a worker runs.

    The exit code is 4 where something did not answer.
    """
    from rich.text import Text

    project = Project.load(folder)
    while True:
        found = project_status(project)
        if as_json:
            print_json(found)
        elif watch:
            with console.capture() as drawn, errors.capture() as noted:
                _show_status(project, found)
            console.clear()
            console.print(Text.from_ansi(f"{noted.get()}{drawn.get()}"), soft_wrap=True)
            console.print(f"{datetime.now(UTC):%H:%M:%S} UTC · Ctrl-C ends", style="dim", highlight=False)
        else:
            _show_status(project, found)
        if not watch:
            break
        time.sleep(_WATCH_S)
    if found["unknown"]:
        raise typer.Exit(AWAY)


def _show_status(project: Project, found: dict[str, Any]) -> None:
    for remark in [*found["notes"], *_losses(found)]:
        note(remark)
    columns = ["partition", "end", "applied", "lag", "committed", "logged", "newest record"]
    rows = [
        [
            f"{row['topic']}[{row['partition']}]",
            *(row[name] for name in ("end", "applied", "lag", "committed", "logged")),
            (row["newest_record"] or "–")[:19].replace("T", " "),
        ]
        for row in found["partitions"]
    ]
    _show_views(found["views"])
    title = f"{found['project']} · plan {found['plan']} · {found['clock']} clock"
    table(title, columns, rows, numbers=columns[1:6])
    print_workers(read_heartbeats(project.workers_path), time.time())


def _losses(found: dict[str, Any]) -> list[str]:
    """Remarks on topics that were made again, and on gaps that were accepted."""
    remarks = []
    for topic in sorted({row["topic"] for row in found["sealed"]}):
        offsets = sum(row["logged"] for row in found["sealed"] if row["topic"] == topic)
        remarks.append(
            f"The topic {topic} was deleted and made again: {offsets:,} offsets of the old one are logged, and count."
        )
    remarks += [
        f"{gap['topic']}[{gap['partition']}]: offsets {gap['first']} to {gap['last']} ({gap['count']:,}) are missing "
        f"from the log; this was accepted on {gap['accepted_at'][:10]}."
        for gap in found["gaps"]
    ]
    return remarks


def _show_views(views: list[dict[str, Any]]) -> None:
    rows = []
    for row in views:
        remarks = []
        if row["building"]:
            remarks.append(f"building {row['building']}: {row['built']:.0%} of the log")
        if row["asked_for"]:
            remarks.append(f"requested: {row['asked_for']}, which no worker has begun")
        if row["live"] != row["declared"] and not row["building"] and not row["asked_for"]:
            remarks.append("the plan has another version: `headrace backfill` makes it live")
        rows.append([row["view"], row["live"] or "–", row["declared"], row["before"] or "–", "; ".join(remarks) or "–"])
    if any(row[1] != row[2] or row[4] != "–" or row[3] != "–" for row in rows):
        table("views", ["view", "live", "plan", "before", ""], rows)
