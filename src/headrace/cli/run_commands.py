"""Commands that run things: dev, produce, stream."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.interrupts import is_program
from headrace.cli.output import (
    AsJson,
    Folder,
    command,
    console,
    errors,
    print_json,
    report_failure,
)
from headrace.cli.worker_log import set_up_logging
from headrace.config import Project
from headrace.errors import HeadraceError
from headrace.produce.command import produce_command
from headrace.times import iso_time

if TYPE_CHECKING:
    from rich.text import Text

    from headrace.worker.stats import WorkerStats

__all__ = ["dev", "produce", "stream"]

produce = command(produce_command)


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
        watchdog.reported(code)
        raise typer.Exit(code) from None
    else:
        watchdog.reported(0)
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
