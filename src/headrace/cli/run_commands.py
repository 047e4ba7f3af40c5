"""Commands that run things: dev, produce, stream, status."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.interrupts import is_program
from headrace.cli.output import (
    AWAY,
    AsJson,
    Folder,
    command,
    console,
    errors,
    note,
    print_json,
    report_failure,
    table,
)
from headrace.cli.worker_log import set_up_logging
from headrace.config import Project
from headrace.errors import HeadraceError
from headrace.produce.command import produce_command
from headrace.times import iso_time

if TYPE_CHECKING:
    from rich.text import Text

    from headrace.worker.stats import WorkerStats

__all__ = ["dev", "produce", "status", "stream"]

produce = command(produce_command)

_WATCH_S = 2.0


@command
def dev(
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; a free one if left out.", show_default=False)
    ] = None,
    folder: Folder = None,
) -> None:
    """Run the embedded broker until stopped. It is for development: it forgets its topics when it ends."""
    from headrace.kafka import EmbeddedBroker, ensure_topics
    from headrace.plan import read_plan

    project = Project.load(folder)
    with EmbeddedBroker(project.broker_state_path, port) as broker:
        console.print(
            f"The embedded broker listens at [bold]{broker.address}[/] (Ctrl-C stops it; it keeps no data).",
            highlight=False,
        )
        if project.plan_file.exists():
            topics = ensure_topics(broker.connection, read_plan(project.plan_file).sources.values(), project.partitions)
            console.print(f"Topics: {', '.join(topics)}", highlight=False)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        broker.wait()


@command
def stream(
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop once everything that is in the topics now is applied and logged.")
    ] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="First fill the online store again from the log.")] = False,
    accept_gap: Annotated[
        bool,
        typer.Option(
            "--accept-gap", help="Go on without events that the broker no longer has; the log notes them as missing."
        ),
    ] = False,
    accept_new_topic: Annotated[
        bool,
        typer.Option(
            "--accept-new-topic",
            help="Go on with a topic that was deleted and made again; what is logged of the old one stays.",
        ),
    ] = False,
    accept_cluster: Annotated[
        bool,
        typer.Option(
            "--accept-cluster", help="Go on in another cluster that has the same records at the same offsets."
        ),
    ] = False,
    as_json: AsJson = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show the messages of Faust and Kafka.")
    ] = False,
    folder: Folder = None,
) -> None:
    """Run a worker: events from Kafka into the online store and the log."""
    set_up_logging(verbose=verbose)
    logging.getLogger("headrace").info("Starting.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the worker has its own handler
    from headrace.worker import run_worker
    from headrace.worker.topic_identity import Accept
    from headrace.worker.watchdog import Watchdog

    accept = Accept(accept_gap, accept_new_topic, accept_cluster)
    project = Project.load(folder)
    report = partial(report_failure, as_json=as_json, one_line=True)
    watchdog = Watchdog(report)
    may_end_process = is_program()
    try:
        with _shown(as_json) as watch:
            stats = run_worker(
                project, until_end=until_end, rebuild=rebuild, accept=accept, watch=watch, watchdog=watchdog
            )
    except HeadraceError as error:
        code = report(error)
        watchdog.told(code)
        raise typer.Exit(code) from None
    else:
        watchdog.told(0)
    finally:
        if not may_end_process:
            watchdog.done()
    if as_json:
        print_json(stats.to_json())
        return
    dead = f", {stats.dead_letters:,} dead letters" if stats.dead_letters else ""
    rate = f" in {stats.seconds:.1f} s ({stats.events_per_second:,.0f} events/s)" if stats.seconds else ""
    console.print(f"Applied {stats.events:,} events{rate}{dead}.", highlight=False)


@contextmanager
def _shown(as_json: bool) -> Iterator[Callable[[WorkerStats], None] | None]:
    """On a terminal, a line below the log that shows the worker's progress."""
    if as_json or not errors.is_terminal:
        yield None
        return
    from rich.live import Live
    from rich.text import Text

    with Live(Text("Starting …"), console=errors, transient=True, refresh_per_second=4) as live:
        yield lambda now: live.update(_progress(now))


def _progress(stats: WorkerStats) -> Text:
    from rich.text import Text

    newest = iso_time(stats.newest_record_us) or "waiting for events"
    dead = f" · {stats.dead_letters:,} dead letters" if stats.dead_letters else ""
    return Text(f"{stats.events:,} events · {stats.events_per_second:,.0f} events/s · {newest}{dead}")


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

    from headrace.cli.status import project_status

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
    from headrace.cli.health import worker_lines
    from headrace.worker.heartbeat import read_heartbeats

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
    for line in worker_lines(read_heartbeats(project.workers_path), time.time()):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


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
